import { deepEqual, ok } from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createTwoFilesPatch } from 'diff'
import fc from 'fast-check'
import fastify from 'fastify'
import t from 'tap'
import { podSecurityModes, tlsModes } from '../../src/contract/pod.ts'
import { curlLine, programLine } from '../../src/page/browser/commands.ts'
import { rowsOf, sideBySide } from '../../src/page/browser/diff-rows.ts'
import { maximumBytes, problemOf, readFiles } from '../../src/page/browser/files.ts'
import { summaryOf } from '../../src/page/browser/summary.ts'
import { violationRows } from '../../src/page/browser/violations.ts'
import { partsOf } from '../../src/page/browser/yaml-parts.ts'
import { pageRoutes } from '../../src/page/routes.ts'
import { type DryRunResult, maximumBodyBytes } from '../../src/preview/schemas.ts'

const html = readFileSync(new URL('../../src/page/page.html', import.meta.url), 'utf8')

t.test('the page is served with what keeps a browser from doing anything else', async t => {
  const app = fastify()
  t.teardown(() => app.close())
  await app.register(pageRoutes({ html, script: 'let a', style: 'a {}', icon: '<svg/>' }))
  for (const [path, type] of [
    ['/', 'text/html'],
    ['/page.js', 'text/javascript'],
    ['/page.css', 'text/css'],
    ['/icon.svg', 'image/svg+xml']
  ] as const) {
    const { statusCode, headers } = await app.inject(path)
    t.equal(statusCode, 200)
    t.equal(headers['content-type'], `${type}; charset=utf-8`)
    t.equal(headers['x-content-type-options'], 'nosniff')
    const policy = String(headers['content-security-policy']).split('; ')
    t.ok(policy.includes("default-src 'none'"), 'what is not named is forbidden')
    t.ok(policy.includes("frame-ancestors 'none'"))
    t.notMatch(policy.join(), /unsafe|\*|https?:|data:|blob:/)
    const again = await app.inject({ path, headers: { 'if-none-match': String(headers.etag) } })
    t.equal(again.statusCode, 304)
    t.equal(again.body, '')
  }
})

t.test('the page loads its own files alone and has nothing inline', t => {
  t.strictSame(
    [...html.matchAll(/\b(?:src|href)="([^"#]+)"/g)].map(([, address]) => address).sort(),
    ['icon.svg', 'icon.svg', 'page.css', 'page.js']
  )
  t.notMatch(html, /<style|\sstyle=|\son\w+=|javascript:|<script[^>]*>[^<]/i)
  t.end()
})

t.test('the page offers the modes and the size that the server takes', t => {
  const values = (name: string) =>
    [...html.matchAll(new RegExp(`name="${name}" value="([^"]+)"`, 'g'))].map(([, value]) => value)
  t.strictSame(values('profile').sort(), [...podSecurityModes].sort())
  t.strictSame(values('tls').sort(), [...tlsModes].sort())
  t.equal(maximumBytes, maximumBodyBytes)
  t.end()
})

const line = fc.oneof(
  fc.constantFrom('a: 1', '- a', '', '  b: "x"', '--- c', '+++ d', '\\ e', '-', '+', '@@ -1 +1 @@'),
  fc.string()
)
/** No line breaks of any kind within lines. */
const text = fc
  .array(
    line.map(one => one.replaceAll(/[\n\r]/g, ' ')),
    { maxLength: 30 }
  )
  .map(lines => lines.map(one => `${one}\n`).join(''))

t.test('rows hold every line of both texts, in either layout', t => {
  fc.assert(
    fc.property(text, text, (before, after) => {
      const context = Number.MAX_SAFE_INTEGER
      const diff = createTwoFilesPatch('a', 'b', before, after, undefined, undefined, { context })
      const rows = rowsOf(diff)
      for (const shown of [rows, sideBySide(rows)]) {
        const whole = { before, after }
        for (const side of ['before', 'after'] as const) {
          const lines = shown.flatMap(row => row[side] ?? [])
          const expected = before === after ? [] : whole[side].split('\n').slice(0, -1)
          deepEqual(
            lines.map(({ number, text }) => [number, text]),
            expected.map((text, index) => [index + 1, text])
          )
          for (const { text, changed: [from, to] = [0, 0] } of lines) {
            ok(from <= to && to <= text.length)
          }
        }
      }
    }),
    { numRuns: 500 }
  )
  t.end()
})

t.test('what differs within lines that stand for each other is marked', t => {
  const diff = createTwoFilesPatch('a', 'b', 'same\nuser: 0\n', 'same\nuser: 1000\n')
  const [, removed, added] = rowsOf(diff)
  t.strictSame(
    [removed?.before?.changed, added?.after?.changed],
    [
      [6, 6],
      [6, 9]
    ]
  )
  t.end()
})

t.test('the colours of a line leave nothing of it out', t => {
  fc.assert(
    fc.property(
      fc.oneof(line, fc.string({ maxLength: 600 })),
      one =>
        partsOf(one)
          .map(({ text }) => text)
          .join('') === one
    )
  )
  t.strictSame(
    partsOf('  - name: "a"').map(({ kind }) => kind),
    ['mark', 'key', 'mark', 'string']
  )
  t.end()
})

t.test('the lines for a terminal hold one word for a file, whatever its name', t => {
  const names = ['a.yaml', '-f', "it's", '$(touch x)', '`touch x`', '"; touch x', 'a b', '!!', '@x']
  for (const file of names) {
    const wish = { base: 'https://preview.test/', file, profile: 'warn', tls: 'tls' }
    t.ok(words(curlLine(wish)).includes(`@${file}`))
    t.equal(words(programLine(wish))[4], file.startsWith('-') ? `./${file}` : file)
  }
  for (const file of ['a\nb', 'a\u001b[31m', 'a\u202eb', '']) {
    const wish = { base: 'https://preview.test/', file, profile: 'warn', tls: 'tls' }
    t.ok(words(curlLine(wish)).includes('@pods.yaml'))
  }
  t.end()
})

/** As a shell reads them. */
function words(command: string): string[] {
  const script = `set -- ${command}\nprintf '%s\\0' "$@"`
  return spawnSync('sh', ['-c', script], { encoding: 'utf8' }).stdout.split('\0').slice(0, -1)
}

t.test('the certificate goes unchecked on the own machine alone', t => {
  const insecure = (base: string) =>
    words(curlLine({ base, profile: 'warn', tls: 'tls' })).includes('--insecure')
  for (const base of ['https://localhost:8445/', 'https://127.0.0.1/', 'https://[::1]:8445/']) {
    t.equal(insecure(base), true, base)
  }
  for (const base of [
    'https://preview.test/',
    'https://127.0.0.1.test/',
    'https://localhost.test/'
  ]) {
    t.equal(insecure(base), false, base)
  }
  t.end()
})

t.test('files become one text; what cannot be asked about is said', async t => {
  const yaml = (name: string, content: string | Uint8Array<ArrayBuffer>) =>
    new File([content], name)
  t.strictSame(await readFiles([yaml('b.yaml', 'b: 1'), yaml('a.yaml', '\ufeffa: 1')]), {
    text: 'a: 1\n---\nb: 1'
  })
  t.strictSame(await readFiles([yaml('a.yaml', 'a: 1')]), { text: 'a: 1', file: 'a.yaml' })
  t.match(await readFiles([yaml('a.gz', Uint8Array.of(0x1f, 0x8b, 0xff))]), { problem: /a\.gz/ })
  t.match(await readFiles([yaml('a', 'é'.repeat(maximumBytes / 2 + 1))]), { problem: /1\.01 MiB/ })
  t.equal(problemOf('é'.repeat(maximumBytes / 2)), undefined)
  t.match(problemOf('é'.repeat(maximumBytes / 2 + 1)), /1\.01 MiB/)
  t.match(problemOf(' \n'), /no text/)
})

const violation = (id: string, detail = '') => ({ id, reason: id, detail })
const report = (before: string[], after?: string[]) => ({
  level: 'restricted' as const,
  version: 'latest' as const,
  before: before.map(id => violation(id)),
  ...(after && { after: after.map(id => violation(id)) })
})

t.test('violations are told before and after, those that came among them', t => {
  const rows = violationRows(report(['a', 'b'], ['b', 'c']))
  t.strictSame(
    rows.map(({ id, before, after }) => [id, before, after]),
    [
      ['a', true, false],
      ['b', true, true],
      ['c', false, true]
    ]
  )
  t.strictSame(
    violationRows(report(['a'])).map(({ after }) => after),
    [undefined]
  )
  t.end()
})

t.test('the summary counts pods and violations', t => {
  const result = (allowed: boolean, podSecurity?: ReturnType<typeof report>): DryRunResult => ({
    ...{ source: 'document 1', kind: 'Pod', node: 'head', allowed, patch: [], warnings: [] },
    ...(podSecurity && { podSecurity })
  })
  const summaries: [DryRunResult[], RegExp][] = [
    [[], /^No pods/],
    [[result(true)], /^1 pod, admitted\.$/],
    [
      [result(true, report(['a', 'b'], ['b'])), result(true, report(['a'], []))],
      /all admitted.* 3 before, 1 after\.$/
    ],
    [
      [result(true, report(['a'], [])), result(false, report(['b']))],
      /1 refused.* 2 before, 0 after in what is admitted\.$/
    ],
    [[result(false, report(['b'])), result(false)], /all refused.* 1 before\.$/]
  ]
  for (const [results, expected] of summaries) t.match(summaryOf({ results }), expected)
  t.end()
})
