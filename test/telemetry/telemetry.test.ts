import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { eventReasons } from '../../src/events/reasons.ts'
import { describeError } from '../../src/telemetry/describe-error.ts'
import { createLogger, withoutSecrets } from '../../src/telemetry/logger.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'

const token = `eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.${'a'.repeat(200)}.${'b'.repeat(80)}`
const pem =
  '-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIsecretsecret\nAAAA\n-----END EC PRIVATE KEY-----\n'
const csr =
  '-----BEGIN CERTIFICATE REQUEST-----\nMIIBsecretsecret\n-----END CERTIFICATE REQUEST-----'

function logging(level: 'debug' | 'info' = 'debug') {
  let text = ''
  const log = createLogger({
    level,
    destination: {
      write(line) {
        text += line
      }
    }
  })
  return {
    log,
    text: () => text,
    lines: () =>
      text
        .trim()
        .split('\n')
        .map(line => JSON.parse(line))
  }
}

t.test('a line has a level in words, a time and no host or process', async t => {
  const { log, lines, text } = logging('info')
  log.debug('not shown')
  log.info({ kind: 'head' }, 'pod admitted')
  t.match(lines(), [{ level: 'info', kind: 'head', msg: 'pod admitted' }], 'one line')
  t.ok(Number.isFinite(Date.parse(lines()[0].time)), 'with a time')
  t.notMatch(text(), /"pid"|"hostname"/, 'and nothing else')
})

t.test(
  'attack: no token, key or CSR gets into the log, whatever field or message it comes in',
  async t => {
    const { log, text, lines } = logging()
    const carriers: [object, string][] = [
      [{ authorization: `Bearer ${token}` }, 'a'],
      [
        { headers: { authorization: 'Bearer opaque-secretsecret', Authorization: 'secretsecret' } },
        'a'
      ],
      [{ request: { headers: { authorization: 'secretsecret', cookie: 'secretsecret' } } }, 'a'],
      [
        { a: [{ b: { c: { d: { Token: 'secretsecret', privateKey: { k: 'secretsecret' } } } } }] },
        'a'
      ],
      [{ token: 'secretsecret', csr, body: { a: 'secretsecret' }, env: ['secretsecret'] }, 'a'],
      [{ reason: `the token ${token} is not valid` }, 'a'],
      [{ deep: { deeper: { deepest: { deeperStill: token } } } }, 'a'],
      [{ list: [pem] }, `the key ${pem}`],
      [{ text: pem.slice(0, 60) }, 'a key without its end'],
      [{}, `sent Authorization: bearer opaque-secretsecret-0123 and got 401`],
      [{ err: new Error(`bad token ${token}`, { cause: new Error(`in ${csr}`) }) }, 'a']
    ]
    for (const [fields, message] of carriers) log.info(fields, message)
    t.equal(lines().length, carriers.length, 'every line is there and is still JSON')
    t.notMatch(text(), /secretsecret|aaaaaaaa|bbbbbbbb|MHcC|MIIB|BEGIN/, 'and none of the secrets')
    t.match(text(), /\[token\][\s\S]*\[PEM\]/, 'in their place stands what they were')
  }
)

t.test('an ordinary line is not changed', async t => {
  const line =
    '{"level":"info","msg":"certificate issued","serialNumber":"00eyeJ12","spkiSha256":"beef"}\n'
  t.equal(withoutSecrets(line), line, 'byte for byte')
})

t.test('a long line without an end is cleaned in linear time', async t => {
  t.notMatch(
    withoutSecrets(`{"msg":"${'-----BEGIN X-----'.repeat(20_000)}"}`),
    /BEGIN/,
    'twenty thousand beginnings'
  )
  t.notMatch(
    withoutSecrets(`{"msg":"${'eyJaaaaaaaa.a'.repeat(20_000)}"}`),
    /eyJ/,
    'and as many tokens'
  )
})

t.test('an error keeps its message, code and causes, and nothing that hangs on it', async t => {
  const cause = Object.assign(new Error('connect ECONNREFUSED'), {
    code: 'ECONNREFUSED',
    address: '10.0.0.1'
  })
  const error = Object.assign(new TypeError('it failed', { cause }), {
    code: 'Unavailable',
    status: 503,
    request: { body: 'secretsecret' },
    headers: { authorization: 'secretsecret' }
  })
  const described = describeError(error)
  t.match(described, {
    type: 'TypeError',
    message: 'it failed',
    code: 'Unavailable',
    status: 503,
    stack: /^at /,
    cause: { type: 'Error', message: 'connect ECONNREFUSED', code: 'ECONNREFUSED' }
  })
  t.notMatch(JSON.stringify(described), /secretsecret|10\.0\.0\.1/, 'no request, no headers')
  t.match(describeError('only a text'), { type: 'string', message: 'only a text' }, 'a thrown text')
  t.match(
    describeError({ token }),
    { type: 'object', message: 'not an Error' },
    'a thrown object is not shown'
  )
  t.match(
    describeError(Object.assign(new Error('x'), { code: { a: 1 }, stack: undefined })),
    { message: 'x', stack: '' },
    'odd members'
  )

  const shown = describeError(new Error('one\n    at secretsecret (/a.ts:1:2)\n    at two')).stack
  t.match(shown, /^at .*telemetry.test/, 'where it came from')
  t.notMatch(shown, /secretsecret/, 'attack: a line of the message that looks like a place')

  const circle = new Error('one')
  circle.cause = circle
  t.equal(
    JSON.stringify(describeError(circle)).split('"one"').length - 1,
    6,
    'a circle of causes ends'
  )
})

t.test('outcomes, durations, dates and reloads are counted', async t => {
  const metrics = createMetrics({ version: '1.2.3' })
  metrics.admission({ kind: 'head', code: 'Allowed' })
  metrics.admission({ kind: 'head', code: 'Allowed' })
  metrics.admission({ kind: 'worker', code: 'HostNetwork' })
  metrics.violations(new Set(['runAsUser', 'hostPorts']))
  metrics.validation({ kind: 'RayJob', result: 'violates' })
  metrics.admissionDuration(0.0007)
  metrics.issuance({ code: 'Issued', seconds: 0.02 })
  metrics.issuance({ code: 'PodNotFound', seconds: 0.2 })
  metrics.reply('webhook', 200)
  metrics.certificateExpiry('webhook-serving', new Date('2030-01-01T00:00:00.900Z'))
  metrics.reload('serving', 'failed')
  metrics.gauge('rayguard_test', 'A number.', () => 42)
  metrics.gauges('rayguard_test_by', 'Numbers.', 'within', () => ({ '1d': 2, '7d': 3 }))
  let known: Record<string, number> = { a: 1, b: 1 }
  metrics.gauges('rayguard_test_known', 'Numbers.', 'of', () => known)
  await metrics.text()
  known = { b: 2 }
  metrics.check('watch', () => false)
  const text = await metrics.text()
  t.match(text, /^rayguard_test_known\{of="b"\} 2$/m, 'what is known now')
  t.notMatch(text, /rayguard_test_known\{of="a"/, 'and nothing that is not any more')
  for (const line of [
    'rayguard_info{version="1.2.3"} 1',
    'rayguard_admissions_total{kind="head",code="Allowed"} 2',
    'rayguard_resource_reviews_total{kind="RayJob",result="violates"} 1',
    'rayguard_admissions_total{kind="worker",code="HostNetwork"} 1',
    'rayguard_pod_security_violations_total{check="hostPorts"} 1',
    'rayguard_admission_duration_seconds_bucket{le="0.001"} 1',
    'rayguard_certificate_requests_total{code="Issued"} 1',
    'rayguard_certificate_requests_total{code="PodNotFound"} 1',
    'rayguard_certificate_request_duration_seconds_count{result="refused"} 1',
    'rayguard_http_replies_total{listener="webhook",status="200"} 1',
    'rayguard_certificate_expiry_timestamp_seconds{certificate="webhook-serving"} 1893456000',
    'rayguard_reloads_total{thing="serving",result="failed"} 1',
    'rayguard_test 42',
    'rayguard_test_by{within="7d"} 3',
    'rayguard_ready_check{check="watch"} 0'
  ])
    t.ok(text.includes(`${line}\n`), line)
  t.match(text, /process_resident_memory_bytes/, 'Node’s own are there')
  t.notMatch(
    text,
    /(pod|cluster|namespace|address)="/,
    'no label names a pod, a cluster or an address'
  )
})

t.test('attack 60: codes without end make no time series without end', async t => {
  const metrics = createMetrics({ version: '' })
  for (let at = 0; at < 1_000; at++) {
    metrics.admission({ kind: `kind-${at}`, code: 'Allowed' })
    metrics.issuance({ code: `code-${at}`, seconds: 0 })
  }
  const text = await metrics.text()
  t.equal(
    text.match(/^rayguard_admissions_total\{/gm)?.length,
    101,
    'a hundred kinds and the others'
  )
  t.match(
    text,
    /rayguard_admissions_total\{kind="other",code="Allowed"\} 900\n/,
    'which are counted together'
  )
  t.equal(text.match(/^rayguard_certificate_requests_total\{/gm)?.length, 101, 'codes likewise')
})

t.test('two registries do not know each other', async t => {
  createMetrics({ version: 'a' })
  t.notMatch(await createMetrics({ version: 'b' }).text(), /version="a"/, 'nothing is global')
})

t.test('docs/metrics.md describes nothing that is not there', async t => {
  const page = readFileSync('docs/metrics.md', 'utf8')
  const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
  const source = files
    .filter(file => file.endsWith('.ts'))
    .map(file => readFileSync(join('src', file), 'utf8'))
    .join('\n')
  const names = [...page.matchAll(/^\| `(rayguard_\w+)` \|/gm)].map(([, name = '']) => name)
  t.ok(names.length > 10, 'metrics')
  for (const name of names) {
    const end = name.replace(/^rayguard_(webhook|enrollment)/, '')
    t.ok(source.includes(`'${name}'`) || source.includes(`{component}${end}\``), name)
  }
  const reasons = [...page.matchAll(/^\| `([A-Z]\w+)` \|/gm)].map(([, reason = '']) => reason)
  t.strictSame(reasons, [...eventReasons], 'Events')
})
