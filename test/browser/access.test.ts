import axe from 'axe-core'
import type { Page } from 'playwright-core'
import t from 'tap'
import { openStage, skip } from '../support/page-in-browser.ts'

if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

const stage = await openStage()
t.teardown(() => stage.close())

const wrong = 'kind: Pod\n\tapiVersion: v1'
const refused = JSON.stringify({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'a-name-that-is-as-long-as-names-may-be-'.repeat(6),
    namespace: 'team',
    labels: { 'ray.io/cluster': 'demo', 'ray.io/node-type': 'head' }
  },
  spec: { containers: [{ name: 'ray-head', image: 'ray', securityContext: { privileged: true } }] }
})

const show = (page: Page) => page.getByRole('button', { name: 'Show what would happen' }).click()

/** What there is to see, one state after the other. */
const states: Record<string, (page: Page) => Promise<void>> = {
  async welcome() {},
  async changes(page) {
    await page.getByRole('button', { name: 'Try an example' }).click()
    await page.locator('.diff').waitFor()
    await page.locator('.patch > summary').click()
  },
  async 'side by side'(page) {
    await page.getByRole('radio', { name: 'Side by side' }).check()
  },
  async warnings(page) {
    await page.locator('#text').fill(refused)
    await show(page)
    await page.getByText('Warnings').waitFor()
  },
  async refusal(page) {
    await page.getByRole('radio', { name: /^enforce/ }).check()
    await page.getByText('would be refused').waitFor()
  },
  async problem(page) {
    await page.locator('#text').fill(wrong)
    await show(page)
    await page.getByRole('alert').getByText('Line 2').waitFor()
  }
}

for (const colorScheme of ['light', 'dark'] as const) {
  t.test(`everybody can read and use the ${colorScheme} page, wide and narrow`, t =>
    stage.visit(t, { colorScheme }, async page => {
      await page.evaluate(axe.source)
      for (const [state, bringAbout] of Object.entries(states)) {
        await bringAbout(page)
        for (const width of [1440, 320]) {
          await page.setViewportSize({ width, height: 900 })
          t.strictSame(await barriers(page), [], `${state}, ${width} wide`)
          // WCAG 2.2, 1.4.10: nobody has to scroll in two directions.
          const needed = await page.evaluate(() => document.documentElement.scrollWidth)
          t.equal(needed, width, `${state} fits into ${width}`)
        }
      }
      const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor)
      const [red = 0] = paper.match(/\d+/g)?.map(Number) ?? []
      t.equal(red > 128 ? 'light' : 'dark', colorScheme)
    })
  )
}

/** What axe finds against WCAG 2.2 AA and good practice, contrast of colours among it. */
async function barriers(page: Page): Promise<string[]> {
  const { violations } = await page.evaluate(async () => {
    const { axe: judge } = globalThis as unknown as { axe: typeof axe }
    return judge.run()
  })
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`)
  )
}

t.test('the keyboard alone does everything, in the order of reading', t =>
  stage.visit(t, {}, async page => {
    const order: string[] = []
    const forward = async (times = 1) => {
      for (let count = 0; count < times; count += 1) await page.keyboard.press('Tab')
    }
    const focused = () =>
      page.evaluate(() => {
        const { activeElement: it } = document
        return it?.id || (it as HTMLInputElement | null)?.name || it?.textContent?.trim() || ''
      })
    for (let step = 0; step < 10; step += 1) {
      await forward()
      order.push(await focused())
    }
    t.strictSame(order, [
      ...['Skip to the results', 'example', 'open', 'text', 'profile', 'tls'],
      ...['Show what would happen', 'Copy', 'Copy', 'example-too']
    ])
    for (let step = 0; step < 6; step += 1) await page.keyboard.press('Shift+Tab')
    t.equal(await focused(), 'text')
    await page.keyboard.insertText(refused)
    await page.keyboard.press('Control+Enter')
    const status = page.getByRole('status').filter({ hasText: '1 pod, admitted.' })
    await status.waitFor()
    t.equal(await focused(), 'text', 'the focus stays where people are')

    await forward()
    await page.keyboard.press('ArrowLeft')
    await page.getByRole('status').filter({ hasText: '1 pod, refused.' }).waitFor()
    await page.keyboard.press('ArrowRight')
    await status.waitFor()
    await forward(5)
    t.equal(await focused(), 'layout')
    await page.keyboard.press('ArrowRight')
    await page
      .getByRole('table', { name: 'Changes to' })
      .and(page.locator('.side-by-side'))
      .waitFor()
    await forward()
    const pod = page.locator('.pod').first()
    const isOpen = () => pod.evaluate((details: HTMLDetailsElement) => details.open)
    t.equal(await isOpen(), true)
    await page.keyboard.press('Enter')
    t.equal(await isOpen(), false)
    await page.keyboard.press('Space')
    t.equal(await isOpen(), true)
    await forward()
    t.equal(await focused(), 'Copy patch')

    await page.keyboard.press('Home')
    await page.locator('#text').fill(wrong)
    await page.locator('#text').press('Control+Enter')
    await page.getByRole('alert').getByText('Line 2').waitFor()
    await forward()
    t.match(await focused(), /^Line 2, column \d+$/, 'the place is the next stop')
    await page.keyboard.press('Enter')
    t.equal(await focused(), 'text')
  })
)
