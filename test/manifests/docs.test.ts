/** What the documentation shows: values that the chart takes, and settings that the program takes. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse, stringify } from 'yaml'
import { errorLine, loadSettings } from '../../src/settings/load.ts'
import { schema } from '../../src/settings/schema.ts'
import { renderChart, skipWithoutHelm } from '../support/cluster-chart.ts'

const pages = ['docs', 'docs/authorities', 'certs', '.'].flatMap(folder =>
  readdirSync(folder)
    .filter(name => name.endsWith('.md'))
    .map(name => join(folder, name))
)
/** In the place of what a reader puts there. */
const filled = (value: string) =>
  value.replace(/^'|'$/g, '').replace(/"\$VAULT_ADDR"/, 'https://a.test:1')

t.test('every value of the chart', { skip: skipWithoutHelm }, async t => {
  let count = 0
  for (const page of pages) {
    let installed: string[] = []
    for (const command of commandsIn(readFileSync(page, 'utf8'))) {
      const set = [...command.matchAll(/--set ('[^']*'|[^\s`]+)/g)].map(([, value = '']) =>
        filled(value)
      )
      const values = /--re(set-then-re)?use-values/.test(command) ? [...installed, ...set] : set
      if (values.length === 0) continue
      if (command.startsWith('helm install')) installed = values
      count += 1
      t.doesNotThrow(() => renderChart(...values), `${page}: ${values.join(' ')}`)
    }
  }
  t.ok(count > 10, 'they were found')
})

t.test('every attack of the threat model is tried where it says so', async t => {
  const rows = readFileSync('docs/threat-model.md', 'utf8').matchAll(
    /^\| ([\d, ]+) \|.*\| (.*) \|$/gm
  )
  let count = 0
  for (const [, numbers = '', places = ''] of rows) {
    const tests = [...places.matchAll(/`([^`]+)`/g)].flatMap(([, place = '']) => testsAt(place))
    const text = tests.map(file => readFileSync(file, 'utf8')).join('\n')
    for (const number of numbers.split(', ')) {
      count += 1
      const named = new RegExp(`attacks? (\\d+, )*${number}\\b`)
      t.match(text, named, `${number}: ${places}`)
    }
  }
  t.ok(count > 70, 'they were found')
})

t.test('every setting', async t => {
  const known = new Set(Object.keys(schema.properties))
  let count = 0
  for (const page of pages) {
    for (const [, text = ''] of readFileSync(page, 'utf8').matchAll(/^```yaml\n(.*?)^```$/gms)) {
      const shown = parse(text)
      if (!Object.keys(shown).every(key => known.has(key))) continue
      count += 1
      t.strictSame(await problemsOf(t, shown), [], `${page}: ${Object.keys(shown).join(', ')}`)
    }
  }
  t.ok(count > 7, 'they were found')
})

/** Whole commands of `helm`, and what is named within a sentence. */
function commandsIn(text: string): string[] {
  const whole = text.match(/^helm (?:.*\\\n)*.*$/gm) ?? []
  return [...whole, ...(text.replace(/^```.*?^```$/gms, '').match(/`--set [^`]*`/g) ?? [])]
}

async function problemsOf(t: Test, shown: object): Promise<string[]> {
  const file = join(t.testdir({}), 'config.yaml')
  const rest = {
    injection: { image: 'registry.example/rayguard:1' },
    authority: { certificateFile: '/a.crt', privateKeyFile: '/a.key' }
  }
  writeFileSync(file, stringify({ ...rest, ...shown }))
  const loaded = await loadSettings({ file, environment: {} })
  return 'errors' in loaded ? loaded.errors.map(errorLine) : []
}

/** Below `test/`: a file, or all of a folder. Empty for what is none, such as the bench. */
function testsAt(place: string): string[] {
  const file = join('test', `${place}.test.ts`)
  if (existsSync(file)) return [file]
  const folder = join('test', place)
  if (!existsSync(folder)) return []
  const names = readdirSync(folder).filter(name => name.endsWith('.test.ts'))
  return names.map(name => join(folder, name))
}
