/** `POST /dry-run` and `GET /openapi.json` of the built program, over HTTPS. */
import { performance } from 'node:perf_hooks'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import t from 'tap'
import { Compile } from 'typebox/compile'
import { parseAllDocuments, stringify } from 'yaml'
import { describeApi } from '../../src/preview/openapi.ts'
import { dryRunAnswer, dryRunError, dryRunErrors } from '../../src/preview/schemas.ts'
import { createDryRunWorker, type Ended } from '../../src/preview/worker.ts'
import { applied } from '../support/api-server.ts'
import { headPod, injectionSettings, review, workerPod } from '../support/builders.ts'
import { type PreviewServer, type Reply, startPreview } from '../support/preview-server.ts'

interface Example {
  summary?: string
  value: string
}

const isAnswer = Compile(dryRunAnswer)
const isError = Compile(dryRunError)

let server: PreviewServer
t.before(async () => {
  server = await startPreview()
})
t.teardown(() => server.close())

const dryRun = (
  body: string | Uint8Array,
  query = '',
  headers: Record<string, string> = { 'content-type': 'application/yaml' }
): Promise<Reply> => server.ask(`/dry-run${query}`, { method: 'POST', headers, body })

const rayCluster = {
  apiVersion: 'ray.io/v1',
  kind: 'RayCluster',
  metadata: { name: 'demo', namespace: 'team' },
  spec: {
    headGroupSpec: { template: { spec: { containers: [{ name: 'ray', image: 'ray:1' }] } } },
    workerGroupSpecs: [
      {
        groupName: 'small',
        template: { spec: { containers: [{ name: 'ray', image: 'ray:1' }] } }
      }
    ]
  }
}

t.test('every output, in JSON and YAML', async t => {
  const { status, headers, text } = await dryRun(stringify(rayCluster))
  t.equal(status, 200)
  t.match(headers, {
    'content-type': 'application/json; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff'
  })
  const answer = JSON.parse(text)
  t.ok(isAnswer.Check(answer), 'as its schema says')
  t.match(
    answer.results,
    [
      {
        node: 'head',
        certificate: { dnsNames: ['localhost', 'demo-head-svc.team.svc.cluster.local'] }
      },
      { node: 'worker', podSecurity: { after: [] } }
    ],
    'the pods of the RayCluster'
  )
  t.equal((await dryRun(JSON.stringify(rayCluster))).text, text, 'the text decides what it is')
  const flow = stringify(rayCluster, { collectionStyle: 'flow' })
  t.match(flow, /^\{\s*apiVersion:/)
  t.equal((await dryRun(flow)).text, text, 'a map of YAML in braces')
  t.notOk('diff' in answer.results[0], 'no diff unless it is asked for')
  const withDiff = JSON.parse((await dryRun(stringify(rayCluster), '?diff=true')).text)
  t.match(
    withDiff.results[0].diff,
    /^--- document 1.*\n\+\+\+ [\s\S]*\n\+ +- name: rayguard-enroll/
  )

  const pods = `${JSON.stringify(headPod())}\n${JSON.stringify(workerPod())}`
  const patch = await dryRun(pods, '?output=patch')
  t.equal(patch.headers['content-type'], 'application/x-ndjson; charset=utf-8')
  const yaml = await dryRun(pods, '?output=yaml')
  t.equal(yaml.headers['content-type'], 'application/yaml; charset=utf-8')
  const patches = patch.text.split('\n').map(line => JSON.parse(line))
  t.strictSame(
    parseAllDocuments(yaml.text).map(document => document.toJS()),
    [applied(headPod(), patches[0]), applied(workerPod(), patches[1])],
    'a patch of each pod, which makes the pods of the YAML'
  )
  const diff = await dryRun(pods, '?output=diff')
  t.equal(diff.headers['content-type'], 'text/plain; charset=utf-8')
  t.equal(diff.text.match(/^\+\+\+ /gm)?.length, 2, 'a diff of each pod')
})

t.test('attack: line ends and directions that a reader does not see', async t => {
  const odd = 'a\u2028b: c\u0085d\u202e'
  const [group] = rayCluster.spec.workerGroupSpecs
  const workerGroupSpecs = [{ ...group, groupName: odd }]
  const body = JSON.stringify({ ...rayCluster, spec: { ...rayCluster.spec, workerGroupSpecs } })
  for (const output of ['yaml', 'diff']) {
    const { status, text } = await dryRun(body, `?output=${output}`)
    t.equal(status, 200)
    t.match(text, /a\\+u2028b/, 'the name of the document, escaped')
    t.notMatch(text, /[\u0085\u2028\u202e]/, output)
  }
  const pods = parseAllDocuments((await dryRun(body, '?output=yaml')).text)
  t.equal(pods[1]?.toJS().metadata.labels['ray.io/group'], odd, 'the value is whole')
})

t.test('profile and tls are those of the query', async t => {
  const root = JSON.stringify(headPod({ ray: { securityContext: { runAsUser: 0 } } }))
  const allowed = async (query: string) =>
    JSON.parse((await dryRun(root, query)).text).results[0].allowed
  t.equal(await allowed('?profile=warn'), true)
  t.equal(await allowed('?profile=enforce'), false)
  const plain = JSON.parse((await dryRun(JSON.stringify(headPod()), '?tls=no-tls')).text)
  t.notOk(plain.results[0].certificate, 'without TLS there is no certificate')
})

t.test('attacks 36, 39, 41: bad input: an error that says what and where', async t => {
  const pod = stringify(headPod())
  const deep = (count: number, open: string, close: string) =>
    `kind: Pod\nmetadata: ${open.repeat(count)}${close.repeat(count)}`
  const bomb = [
    'a: &a [x, x, x, x, x, x, x, x, x, x]',
    ...[...'bcdefghi'].map((name, index) => {
      const former = `*${'abcdefghi'[index]}`
      return `${name}: &${name} [${Array(10).fill(former).join(', ')}]`
    })
  ].join('\n')
  const rows: [string, string | Uint8Array, string, number, object?][] = [
    ['an empty body', '', 'Empty', 400],
    ['comments alone', '# nothing\n---\n', 'Empty', 400],
    ['aliases of aliases', bomb, 'TooManyAliases', 400, { document: 1 }],
    ['an alias of what it stands in', 'a: &a [*a]', 'TooManyAliases', 400, { line: 1 }],
    ['100 000 lists', deep(100_000, '[', ']'), 'TooDeep', 400, { line: 2 }],
    ['100 000 maps', deep(100_000, '{a: ', '}'), 'TooDeep', 400, { line: 2 }],
    ['the same in JSON', `{"a":${'['.repeat(100_000)}`, 'TooDeep', 400, { line: 1 }],
    ['100 000 dashes', `kind: Pod\na:\n  ${'- '.repeat(100_000)}x`, 'TooDeep', 400],
    [
      'a key twice',
      'kind: Pod\nspec: {}\nkind: Pod\n',
      'DuplicateKey',
      400,
      { line: 3, column: 1 }
    ],
    [
      'a key twice in JSON',
      '{"kind": "Pod",\n "kind": 1}',
      'DuplicateKey',
      400,
      { line: 2, column: 2 }
    ],
    ['__proto__', 'kind: Pod\n__proto__: {a: 1}', 'ForbiddenKey', 400, { line: 2, column: 1 }],
    ['__proto__ in JSON', '{"__proto__": 1}', 'ForbiddenKey', 400, { line: 1, column: 2 }],
    ['another apiVersion', 'apiVersion: v2\nkind: Pod\n', 'Unsupported', 422, { line: 1 }],
    [
      'a kind of nobody',
      'apiVersion: ray.io/v1\nkind: RayThing\nmetadata: {name: a}',
      'Unsupported',
      422
    ],
    [
      'another kind alone',
      'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}',
      'Unsupported',
      422
    ],
    [
      'half a document of JSON',
      JSON.stringify(headPod()).slice(0, 200),
      'Malformed',
      400,
      { line: 1 }
    ],
    ['half a document of YAML', `${pod}---\nkind: [Pod`, 'Malformed', 400, { document: 2 }],
    ['a tab', 'kind: Pod\nspec:\n\ta: 1\n', 'Malformed', 400, { line: 3 }],
    ['a NUL', 'kind: Pod\0', 'Malformed', 400, { line: 1, column: 10 }],
    ['binary', Buffer.from([0xff, 0xfe, 0x00, 0x01, 0x80]), 'Encoding', 400],
    ['a text', 'hello', 'Unsupported', 422],
    ['one byte too many', Buffer.alloc(1024 * 1024 + 1, 0x61), 'BodyTooLarge', 413],
    [
      'more pods than an answer can hold',
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'List',
        items: Array(501).fill({ apiVersion: 'v1', kind: 'Pod' })
      }),
      'TooManyPods',
      422
    ]
  ]
  for (const [what, body, code, status, place = {}] of rows) {
    const reply = await dryRun(body)
    const error = reply.text.startsWith('{') ? JSON.parse(reply.text) : reply.text
    t.ok(isError.Check(error), `${what}: as its schema says`)
    t.match({ status: reply.status, ...error }, { status, code, ...place }, what)
  }
  t.equal(server.ended(), undefined, 'it lives')
})

t.test('what others write differently is read', async t => {
  const pod = stringify(headPod())
  const expected = (await dryRun(pod)).text
  t.equal((await dryRun(pod.replaceAll('\n', '\r\n'))).text, expected, 'line ends of Windows')
  t.equal((await dryRun(`\uFEFF${pod}`)).text, expected, 'a byte order mark')
  const filler = `# ${'x'.repeat(1024 * 1024 - Buffer.byteLength(pod) - 3)}\n`
  t.equal(
    (await dryRun(filler + pod)).text.replaceAll(/"document \d+/g, ''),
    expected.replaceAll(/"document \d+/g, ''),
    'a MiB to the byte'
  )
  t.equal((await dryRun(pod, '', {})).status, 415, 'but not without a content type')
})

t.test('requests that are wrong themselves', async t => {
  const body = stringify(headPod())
  const rows: [string, Promise<Reply>, string, number][] = [
    ['an unknown parameter', dryRun(body, '?ouput=patch'), 'Query', 400],
    ['an unknown value', dryRun(body, '?output=xml'), 'Query', 400],
    ['a parameter twice', dryRun(body, '?output=yaml&output=diff'), 'Query', 400],
    ['another content type', dryRun(body, '', { 'content-type': 'image/png' }), 'MediaType', 415],
    [
      'attack 42: a packed body',
      dryRun(gzipSync(body), '', {
        'content-type': 'application/yaml',
        'content-encoding': 'gzip'
      }),
      'ContentEncoding',
      415
    ]
  ]
  for (const [what, asked, code, status] of rows) {
    const reply = await asked
    t.match({ status: reply.status, ...JSON.parse(reply.text) }, { status, code }, what)
  }
  t.equal((await server.ask('/dry-run')).status, 405, 'a GET')
})

t.test('what a body holds is not in the log', async t => {
  const secret = 'hunter2-of-the-body'
  await dryRun(stringify(headPod({ ray: { env: [{ name: 'PASSWORD', value: secret }] } })))
  await dryRun(`kind: ${secret}`)
  const last = await dryRun(`${secret}: [`)
  await server.logged(JSON.parse(last.text).requestId)
  t.match(server.log(), /"code":"Unsupported"/, 'requests are')
  t.notMatch(server.log(), secret)
})

t.test('whatever is sent, it answers and lives', async t => {
  const seed = Number(
    process.env.RAYGUARD_TEST_SEED ?? Math.trunc(performance.timeOrigin) % 2 ** 31
  )
  t.comment(`seed ${seed}; RAYGUARD_TEST_SEED=${seed} repeats it`)
  const good = [
    stringify(rayCluster),
    JSON.stringify(rayCluster),
    JSON.stringify(review(workerPod()))
  ]
  const bent = fc
    .tuple(
      fc.constantFrom(...good),
      fc.nat(),
      fc.oneof(
        fc.constantFrom(
          '',
          '{',
          ']',
          '&a ',
          '*a',
          '<<: ',
          '---\n',
          '\t',
          '\0',
          '"',
          '!!binary ',
          '\u2028',
          '\r'
        ),
        fc.string({ unit: 'binary', maxLength: 5 })
      ),
      fc.nat({ max: 40 })
    )
    .map(([text, at, put, cut]) => {
      const place = at % text.length
      return Buffer.from(text.slice(0, place) + put + text.slice(place + cut), 'utf8')
    })
  const sent = fc.oneof(
    { weight: 4, arbitrary: bent },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }) }
  )
  const codes = new Map<string, number>()
  await fc.assert(
    fc.asyncProperty(
      sent,
      fc.constantFrom('', '?output=patch', '?output=diff', '?diff=true'),
      async (body, query) => {
        const reply = await dryRun(body, query)
        if (reply.status === 200) {
          codes.set('Answered', (codes.get('Answered') ?? 0) + 1)
          return
        }
        const { code } = JSON.parse(reply.text)
        codes.set(code, (codes.get(code) ?? 0) + 1)
        if (reply.status !== dryRunErrors[code as keyof typeof dryRunErrors] || reply.status >= 500)
          throw new Error(reply.text)
      }
    ),
    { numRuns: 400, seed }
  )
  t.comment(JSON.stringify(Object.fromEntries(codes)))
  t.equal((await dryRun(stringify(rayCluster))).status, 200, 'and answers the next')
  t.notMatch(server.log(), /"level":"(warn|error)"/, 'by the same thread')
})

t.test('its description', async t => {
  const { status, text } = await server.ask('/openapi.json')
  t.equal(status, 200)
  const api = JSON.parse(text)
  t.strictSame(api, JSON.parse(JSON.stringify(describeApi({ version: api.info.version }))))
  for (const [, name] of text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g))
    t.ok(api.components.schemas[name as string], `${name} is described`)
  const { requestBody, responses } = api.paths['/dry-run'].post
  let tried = 0
  for (const [type, { examples = {} }] of Object.entries<{ examples?: Record<string, Example> }>(
    requestBody.content
  )) {
    for (const [name, { summary, value }] of Object.entries(examples)) {
      const reply = await dryRun(value, '', { 'content-type': type })
      const wanted = /Refused with (\d+), (\w+)/.exec(summary ?? '')
      t.equal(reply.status, wanted === null ? 200 : Number(wanted[1]), name)
      t.ok(responses[reply.status], 'a status that is described')
      if (wanted !== null) t.equal(JSON.parse(reply.text).code, wanted[2], name)
      t.ok(
        (wanted === null ? isAnswer : isError).Check(JSON.parse(reply.text)),
        'as its schema says'
      )
      tried += 1
    }
  }
  t.ok(tried >= 4, `${tried} examples`)
})

t.test('a thread that takes too long or too much is replaced', async t => {
  const replaced: Ended['ended'][] = []
  const start = (changes: object) => {
    const worker = createDryRunWorker({
      // The built one: it starts at once.
      file: new URL('../../dist/chunks/dry-run-thread.js', import.meta.url),
      timeLimitMs: 60_000,
      memoryLimitMib: 192,
      waiting: 1,
      onReplaced: ({ ended }) => replaced.push(ended),
      ...changes
    })
    t.teardown(() => worker.stop())
    worker.start()
    return worker
  }
  const question = (text: string) => ({
    body: new TextEncoder().encode(text),
    output: 'json' as const,
    diff: false,
    options: { settings: injectionSettings(), clusterDomain: 'cluster.local' }
  })
  const large = question(`${JSON.stringify(workerPod())}\n`.repeat(60))
  const small = question(JSON.stringify(headPod()))

  const hasty = start({ timeLimitMs: 5 })
  t.ok(hasty.problem(), 'it has not begun')
  t.equal(await hasty.ask(large), 'TooCostly', 'no time')
  t.equal(hasty.problem(), undefined, 'attack: costly texts make no replica unready')
  const tight = start({ memoryLimitMib: 48 })
  t.equal(await tight.ask(question('- [0]\n'.repeat(60_000))), 'TooCostly', 'no memory')
  t.match(await tight.ask(small), { pods: 1 }, 'the next question finds another thread')
  t.strictSame(replaced.sort(), ['Memory', 'Time'])

  const prompt = start({ timeLimitMs: 200 })
  await prompt.ask(small)
  const given = prompt.ask(small)
  // From here the loop goes on with its timers, and looks for messages after them.
  await new Promise(resolve => setImmediate(resolve))
  const until = performance.now() + 600
  while (performance.now() < until);
  t.match(await given, { pods: 1 }, 'an answer counts that came while this loop was held')
  t.match(await prompt.ask(small), { pods: 1 })
  t.equal(prompt.problem(), undefined)
  t.equal(replaced.length, 2, 'and its thread stays')

  const busy = start({})
  const answers = await Promise.all([busy.ask(large), busy.ask(small), busy.ask(small)])
  t.match(answers, [{ pods: 60 }, { pods: 1 }, 'Overloaded'], 'one at work, one waits, no third')
  const gone = new AbortController()
  const waits = [busy.ask(large), busy.ask(small, gone.signal)]
  gone.abort()
  t.match(await Promise.all(waits), [{ pods: 60 }, 'Overloaded'], 'who has gone waits no longer')
})
