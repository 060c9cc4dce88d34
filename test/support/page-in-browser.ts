/** The page as the built program serves it, in a real Chromium that trusts no more than it has to. */
import { join } from 'node:path'
import {
  type Browser,
  type BrowserContextOptions,
  chromium,
  type Page,
  type Request
} from 'playwright-core'
import type { Test } from 'tap'
import { foundProgram } from './found-program.ts'
import { startPreview } from './preview-server.ts'

export const program = join(import.meta.dirname, '../../dist/rayguard.js')

const browserProgram = ['chromium', 'chromium-browser', 'google-chrome']
  .map(foundProgram)
  .find(found => found !== undefined)

/** In CI a browser has to be there. */
export const skip =
  browserProgram === undefined && !process.env.CI ? 'Chromium is not installed' : undefined

export interface Stage {
  origin: string
  /** Opens the page, and judges when `use` is through: nothing was blocked, nothing failed, nobody else was asked. */
  visit(t: Test, options: VisitOptions, use: (page: Page) => Promise<void>): Promise<void>
  close(): Promise<void>
}

export interface VisitOptions extends BrowserContextOptions {
  /** What the test itself does that has to be blocked. */
  blocked?: string[]
}

export async function openStage(): Promise<Stage> {
  const browser = await chromium.launch({
    executablePath: browserProgram ?? 'chromium',
    // Root, as in a container, has no sandbox.
    args: process.getuid?.() === 0 ? ['--no-sandbox'] : []
  })
  const preview = await startPreview().catch(async error => {
    await browser.close()
    throw error
  })
  const { origin } = preview
  return {
    origin,
    visit: (t, options, use) => visit(t, { browser, origin, options }, use),
    async close() {
      await browser.close()
      await preview.close()
    }
  }
}

interface Visit {
  browser: Browser
  origin: string
  options: VisitOptions
}

async function visit(
  t: Test,
  { browser, origin, options: { blocked = [], ...options } }: Visit,
  use: (page: Page) => Promise<void>
): Promise<void> {
  // Its certificate is made at the start and for nobody else to know.
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options })
  try {
    const faults: string[] = []
    const hosts = new Set<string>()
    const left = (request: Request) => hosts.add(new URL(request.url()).origin)
    context.on('requestfinished', left)
    context.on('requestfailed', request => {
      // One that the policy blocks has never left the browser.
      if (request.failure()?.errorText !== 'csp') left(request)
    })
    await context.exposeFunction('noteFault', (fault: string) => faults.push(fault))
    await context.addInitScript(() => {
      const { noteFault } = window as unknown as { noteFault(fault: string): void }
      addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
        noteFault(`${violatedDirective} ${blockedURI}`)
      )
    })
    const page = await context.newPage()
    page.on('pageerror', error => faults.push(String(error)))
    page.on('dialog', dialog => faults.push(`dialog ${dialog.message()}`))
    await page.goto(origin)
    await use(page)
    t.strictSame(faults, blocked, 'nothing else is blocked, and nothing fails')
    t.strictSame([...hosts], [origin], 'only the server itself is asked')
  } finally {
    await context.close()
  }
}
