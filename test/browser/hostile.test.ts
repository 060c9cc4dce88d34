import t from 'tap'
import { openStage, skip } from '../support/page-in-browser.ts'

if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

const stage = await openStage()
t.teardown(() => stage.close())

/** JSON is YAML, and lets every character stand wherever the attacker wants it. */
function pod(words: { name: string; more?: Record<string, unknown> }): string {
  const { name, more } = words
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: name,
      labels: { 'ray.io/cluster': name, 'ray.io/node-type': 'head', 'ray.io/group': name },
      annotations: { [name]: name }
    },
    spec: { containers: [{ name, image: name, securityContext: { privileged: true } }], ...more }
  })
}

/** What such markup is made for. */
const active = 'script, iframe, img, style, link, base, svg, a, [onload], [onerror]'
const run = 'globalThis.taken = true'
const markups = [
  `<img src="x" onerror="${run}">`,
  `<script>${run}</script>`,
  `</textarea></td></table><svg onload="${run}">`,
  `"><iframe srcdoc="<script>parent.taken=true</script>">`,
  `<a href="javascript:${run}">press</a>`,
  '<style>* { display: none }</style>',
  '<base href="https://attacker.test/">',
  '<link rel="stylesheet" href="https://attacker.test/">',
  '{{7*7}} __proto__ constructor'
]

t.test('attack 79: markup in names, values, warnings and refusals is text', t =>
  stage.visit(t, {}, async page => {
    const made = await page.locator(active).count()
    await page.locator('#text').fill(markups.map(name => pod({ name })).join('\n---\n'))
    await page.getByRole('button', { name: 'Show what would happen' }).click()
    for (const verdict of ['admitted', 'refused']) {
      // Who has seen an answer gets the next one without asking.
      if (verdict === 'refused') await page.getByRole('radio', { name: /^enforce/ }).check()
      await page.getByText(`${markups.length} pods, all ${verdict}`).waitFor()
      for (const folded of ['.pod', '.patch']) {
        await page.locator(folded).evaluateAll((found: HTMLDetailsElement[]) => {
          for (const details of found) details.open = true
        })
      }
      await page.locator('.pod > section').last().waitFor()
      const text = await page.locator('#results').innerText()
      for (const markup of markups) t.ok(text.includes(markup), markup)
      t.equal(await page.locator(active).count(), made, 'no element has come of it')
    }
    await page.locator('#text').fill(`kind: <img src=x onerror="${run}">\napiVersion: v1`)
    await page.getByRole('button', { name: 'Show what would happen' }).click()
    await page.getByRole('alert').getByText('<img src=x').waitFor()
    t.equal(await page.locator(active).count(), made, 'nor of an error')
    t.equal(await page.evaluate(() => 'taken' in globalThis), false)
  })
)

t.test('attack 79: characters that are not seen are shown', t =>
  stage.visit(t, {}, async page => {
    const name = 'a\u202Eb\u200Bc\u0007d'
    await page.locator('#text').fill(pod({ name }))
    await page.getByRole('button', { name: 'Show what would happen' }).click()
    const results = page.locator('#results')
    await results.getByText('U+202E').first().waitFor()
    const text = await results.innerText()
    t.match(text, /aU\+202EbU\+200BcU\+0007d/)
    t.notMatch(text.replaceAll(/[\t\n]/g, ''), /[\p{Cf}\p{Cc}]/u)
  })
)

t.test('a mebibyte is answered, and a byte more is refused with what to do', async t => {
  const mebibyte = 1024 * 1024
  const env = Array.from({ length: 13_000 }, (_, index) => ({
    name: `VARIABLE_${index}`,
    value: 'what somebody has put there'
  }))
  const filler = { name: 'FILLER', value: '' }
  const containers = [{ name: 'ray-head', image: 'ray', env: [filler, ...env] }]
  const text = () => pod({ name: 'large', more: { containers } })
  filler.value = 'x'.repeat(mebibyte - text().length)
  const exact = text()
  t.equal(Buffer.byteLength(exact), mebibyte)
  const folder = t.testdir({ 'exact.json': exact, 'more.json': `${exact} ` })
  await stage.visit(t, {}, async page => {
    const chooser = page.locator('#file')
    await chooser.setInputFiles(`${folder}/exact.json`)
    await page.getByText('1 pod, admitted.').waitFor()
    t.match(await page.locator('.diff').innerText(), /RAY_USE_TLS/)
    await chooser.setInputFiles(`${folder}/more.json`)
    await page.getByRole('alert').getByText('At most 1 MiB').waitFor()
    t.equal((await page.locator('#text').inputValue()).length, mebibyte, 'what stood there is kept')
    await page.locator('#text').evaluate((area: HTMLTextAreaElement) => {
      area.value += ' '
    })
    await page.getByRole('button', { name: 'Show what would happen' }).click()
    await page.getByRole('alert').getByText('At most 1 MiB').waitFor()
  })
})

t.test('whatever got into the page could neither run nor send anything away', t => {
  const blocked = [
    'require-trusted-types-for trusted-types-sink',
    'require-trusted-types-for trusted-types-sink',
    'connect-src https://attacker.test/',
    'img-src https://attacker.test/'
  ]
  return stage.visit(t, { blocked }, async page => {
    // In a timer of the page: what comes from the debugger may do more.
    const refused = await page.evaluate(
      () =>
        new Promise<string[]>(resolve => {
          const found: string[] = []
          const attempt = (act: () => unknown) => {
            try {
              act()
            } catch (error) {
              found.push((error as Error).name)
            }
          }
          setTimeout(async () => {
            attempt(() => new Function('globalThis.taken = true')())
            attempt(() => {
              document.body.innerHTML = '<p>mine</p>'
            })
            await fetch('https://attacker.test/').catch((error: Error) => found.push(error.name))
            const image = document.createElement('img')
            image.onerror = () => resolve(found)
            image.src = 'https://attacker.test/'
          })
        })
    )
    t.strictSame(refused, ['EvalError', 'TypeError', 'TypeError'])
    t.equal(await page.evaluate(() => 'taken' in globalThis), false)
  })
})
