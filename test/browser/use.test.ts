import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { openStage, program, skip } from '../support/page-in-browser.ts'

if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

const stage = await openStage()
t.teardown(() => stage.close())

const rayCluster = `apiVersion: ray.io/v1
kind: RayCluster
metadata: { name: shop, namespace: market }
spec:
  headGroupSpec:
    rayStartParams: {}
    template:
      spec:
        containers:
          - name: ray-head
            image: rayproject/ray:2.46.0
            securityContext: { privileged: true }
  workerGroupSpecs:
    - groupName: small
      rayStartParams: {}
      template:
        spec:
          containers: [{ name: ray-worker, image: rayproject/ray:2.46.0 }]
`
const clipboard = { permissions: ['clipboard-read', 'clipboard-write'] }

const status = (page: Page) => page.locator('#status')
const textbox = (page: Page) => page.getByRole('textbox', { name: 'Your YAML or JSON' })
const pods = (page: Page) => page.locator('#pods > li')
const show = (page: Page) => page.getByRole('button', { name: 'Show what would happen' }).click()

/** What the program itself answers in a terminal; its code is 1 where violations remain. */
function dryRun(t: Test, text: string, ...options: string[]): string {
  const file = join(t.testdir({ 'pods.yaml': text }), 'pods.yaml')
  const words = [program, 'dry-run', '-f', file, ...options]
  return spawnSync(process.execPath, words, { encoding: 'utf8' }).stdout
}

t.test('the example shows each pod with its violations, names and changes', t =>
  stage.visit(t, clipboard, async page => {
    await page.getByRole('button', { name: 'Try an example' }).click()
    await page
      .getByText('2 pods, all admitted. Violations of restricted: 8 before, 0 after.')
      .waitFor()
    const [head, worker] = [pods(page).nth(0), pods(page).nth(1)]
    t.match(await head.locator('summary').first().innerText(), /head\s*admitted\s*4 → 0 violations/)
    const violations = head.getByRole('table', { name: 'Pod Security restricted' })
    t.equal(await violations.getByRole('row').count(), 5)
    t.match(
      await violations.getByRole('row', { name: /seccompProfile/ }).innerText(),
      /violates.*mended/s
    )
    const names = await head.locator('dl').innerText()
    t.match(names, /demo-head-svc\.team\.svc\.cluster\.local/)
    t.match(names, /<pod IP>/)
    t.equal(
      await worker.locator('.changes').count(),
      0,
      'others are worked out when they are opened'
    )
    await worker.getByText('worker group small').click()
    t.match(await worker.locator('.changes').innerText(), /RAY_USE_TLS/)

    await head.getByRole('button', { name: /^Copy patch of/ }).click()
    await page.getByText('Copied.', { exact: true }).waitFor({ state: 'attached' })
    const copied = await page.evaluate(() => navigator.clipboard.readText())
    const answered = JSON.parse(dryRun(t, await textbox(page).inputValue()))
    t.strictSame(JSON.parse(copied), answered.results[0].patch)
  })
)

t.test('the changes are shown whole, below each other and side by side', t =>
  stage.visit(t, {}, async page => {
    await textbox(page).fill(rayCluster)
    await show(page)
    const head = pods(page).nth(0)
    const [first = ''] = dryRun(t, rayCluster, '-o', 'diff').split(/^(?=--- .*worker)/m)
    const lines = first
      .split('\n')
      .slice(2)
      .filter(line => /^[ +-]/.test(line))
    const rows = head.locator('.diff tbody tr:not(.gap)')
    await rows.first().waitFor()
    const unified = await rows.evaluateAll(found =>
      found.map(row => {
        const [, , sign, text] = [...row.querySelectorAll('td')].map(cell => cell.textContent)
        return `${sign === '−' ? '-' : sign || ' '}${text}`
      })
    )
    t.strictSame(unified, lines)

    await page.getByRole('radio', { name: 'Side by side' }).check()
    const columns = (index: number) =>
      rows.evaluateAll(
        (found, at) =>
          found
            .map(row => row.querySelectorAll('td')[at] as HTMLElement)
            .filter(cell => !cell.classList.contains('nothing'))
            .map(cell => cell.textContent),
        index
      )
    const side = (sign: string) =>
      lines.filter(([first]) => first === ' ' || first === sign).map(line => line.slice(1))
    t.strictSame(await columns(1), side('-'))
    t.strictSame(await columns(3), side('+'))
  })
)

t.test('a pasted text is tried at once, and another mode asks anew', t =>
  stage.visit(t, clipboard, async page => {
    await page.evaluate(text => navigator.clipboard.writeText(text), rayCluster)
    await textbox(page).focus()
    await page.keyboard.press('ControlOrMeta+V')
    await page.getByText('2 pods, all admitted.').waitFor()
    t.match(await pods(page).nth(0).innerText(), /Warnings/)

    await page.getByRole('radio', { name: /^enforce/ }).check()
    await page.getByText('2 pods, 1 refused.').waitFor()
    t.match(await pods(page).nth(0).innerText(), /would be refused\n+PodSecurity: /)
    await page.getByRole('radio', { name: /^no-tls/ }).check()
    await page.waitForFunction(
      () => !document.querySelector('#pods')?.textContent?.includes('Names in')
    )

    await page.getByRole('radio', { name: /^off/ }).check()
    await page.getByText('2 pods, all admitted.').waitFor()
  })
)

t.test('a file is dropped anywhere, or chosen, and the lines for a terminal name it', async t => {
  const name = `it's $(touch ran) "this".yaml`
  const folder = t.testdir({
    [name]: rayCluster,
    npx: `#!/bin/sh\nshift\nexec "${process.execPath}" "${program}" "$@"\n`
  })
  chmodSync(join(folder, 'npx'), 0o755)
  await stage.visit(t, {}, async page => {
    const session = await page.context().newCDPSession(page)
    const data = { items: [], files: [join(folder, name)], dragOperationsMask: 1 }
    for (const type of ['dragEnter', 'dragOver', 'drop'] as const) {
      await session.send('Input.dispatchDragEvent', { type, x: 700, y: 500, data })
      if (type === 'dragOver') await page.getByText('Drop it to see').waitFor()
    }
    await page.getByText('2 pods, all admitted.').waitFor()
    t.equal(await textbox(page).inputValue(), rayCluster)
    t.notOk(await page.getByText('Drop it to see').isVisible())

    const env = { PATH: `${folder}:${process.env.PATH}` }
    const run = async (id: string) => {
      const line = await page.locator(id).innerText()
      return spawnSync('sh', ['-c', line], { cwd: folder, env, encoding: 'utf8' }).stdout
    }
    const byProgram = await run('#program')
    t.match(byProgram, /^\+.*RAY_USE_TLS/m)
    t.equal(await run('#curl'), byProgram)
    t.notOk(existsSync(join(folder, 'ran')), 'the name of a file is no command')

    await textbox(page).press('Space')
    t.match(await page.locator('#curl').innerText(), /@pods\.yaml /, 'the file is another one now')

    writeFileSync(
      join(folder, 'other.yaml'),
      'kind: ConfigMap\napiVersion: v1\nmetadata: { name: a }\n'
    )
    const chooser = page.waitForEvent('filechooser')
    await page.getByRole('button', { name: 'Open a file' }).click()
    await (await chooser).setFiles([join(folder, name), join(folder, 'other.yaml')])
    await page.getByText('1 document passed over.').waitFor()
    t.match(await page.locator('#passed-over').innerText(), /Line \d+: .*ConfigMap/)
    t.match(await page.locator('#curl').innerText(), /@pods\.yaml /)
  })
})

t.test('what is wrong with a text is said with its place, and shown there', t =>
  stage.visit(t, {}, async page => {
    await textbox(page).fill(rayCluster)
    await show(page)
    await pods(page).first().waitFor()
    const wrong = rayCluster.replace('    rayStartParams: {}', '\t  rayStartParams: {}')
    await textbox(page).fill(wrong)
    await page.getByText('The text has changed since.').waitFor()
    await show(page)
    const alert = page.getByRole('alert')
    const go = alert.getByRole('button')
    await go.waitFor()
    const [, line, column] = (await go.innerText()).match(/^Line (\d+), column (\d+)$/) ?? []
    const expected = wrong.split('\n').findIndex(text => text.startsWith('\t')) + 1
    t.equal(Number(line), expected)
    t.equal(await textbox(page).getAttribute('aria-invalid'), 'true')
    t.equal(await pods(page).count(), 0, 'what stood there was of another text')
    t.equal(await page.locator('.numbers .wrong').innerText(), String(expected))
    const [band, number, gutter, message] = await Promise.all(
      ['.band', '.numbers .wrong', '.gutter', '#problem'].map(async selector => {
        const box = await page.locator(selector).boundingBox()
        return { top: box?.y ?? 0, bottom: (box?.y ?? 0) + (box?.height ?? 0) }
      })
    )
    t.equal(band?.top, number?.top, 'the line is marked, not another one')
    t.ok(Number(gutter?.bottom) <= Number(message?.top), 'nothing covers the message')
    await go.click()
    const caret = await textbox(page).evaluate((area: HTMLTextAreaElement) => area.selectionStart)
    t.equal(
      caret,
      wrong
        .split('\n')
        .slice(0, expected - 1)
        .join('\n').length + Number(column)
    )

    await textbox(page).fill(rayCluster)
    t.equal(await alert.innerText(), '')
    t.equal(await textbox(page).getAttribute('aria-invalid'), null)
    await textbox(page).fill(' \n')
    await show(page)
    await page.getByText('There is no text yet.').waitFor()
  })
)

t.test('the last question wins, whichever answer comes last', t =>
  stage.visit(t, {}, async page => {
    let answerLate = () => {}
    const late = new Promise<void>(resolve => {
      answerLate = resolve
    })
    await page.route('**/dry-run?*', async route => {
      if (route.request().url().includes('profile=warn')) await late
      // One that the page has given up cannot be answered.
      await route.continue().catch(() => {})
    })
    await textbox(page).fill(rayCluster)
    const [first] = await Promise.all([page.waitForRequest('**/dry-run?*'), show(page)])
    await page.getByRole('radio', { name: /^enforce/ }).check()
    await show(page)
    await page.getByText('2 pods, 1 refused.').waitFor()
    answerLate()
    await (await first.response())?.finished()
    await page.evaluate(() => new Promise(resolve => setTimeout(resolve)))
    t.match(await status(page).innerText(), /1 refused/)

    await page.unroute('**/dry-run?*')
    await page.route('**/dry-run?*', () => {})
    await show(page)
    const isBusy = () => page.locator('#results').getAttribute('aria-busy')
    t.equal(await isBusy(), 'true')
    await textbox(page).fill('')
    await show(page)
    await page.getByRole('alert').getByText('There is no text yet.').waitFor()
    t.equal(await isBusy(), null, 'nothing is under way any more')
  })
)

t.test('a server that is gone is named, and asked again', t =>
  stage.visit(t, {}, async page => {
    await textbox(page).fill(rayCluster)
    await page.context().setOffline(true)
    await show(page)
    await page.getByRole('alert').getByText('did not answer').waitFor()
    await page.context().setOffline(false)
    await show(page)
    await pods(page).first().waitFor()
    t.equal(await page.getByRole('alert').innerText(), '')
  })
)

t.test('the example can be undone', t =>
  stage.visit(t, {}, async page => {
    await textbox(page).focus()
    await page.keyboard.type('mine: 1')
    await page.getByRole('button', { name: 'Example', exact: true }).click()
    await pods(page).first().waitFor()
    await textbox(page).focus()
    await page.keyboard.press('ControlOrMeta+Z')
    t.equal(await textbox(page).inputValue(), 'mine: 1')
  })
)
