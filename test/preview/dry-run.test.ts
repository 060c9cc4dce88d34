import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import t from 'tap'
import { stringify } from 'yaml'
import { admit } from '../../src/admission/admit.ts'
import { UsageError } from '../../src/cli/command.ts'
import { command } from '../../src/cli/dry-run.ts'
import { summaries } from '../../src/cli/main-help.ts'
import type { Operation } from '../../src/injection/edits.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { readDocuments } from '../../src/preview/documents.ts'
import { dryRun } from '../../src/preview/dry-run.ts'
import { scanJson } from '../../src/preview/json-scan.ts'
import { createPlaces } from '../../src/preview/place.ts'
import { applied } from '../support/api-server.ts'
import { headPod, injectionSettings, review, submitterPod, workerPod } from '../support/builders.ts'
import { enrolledPods } from '../support/kuberay-pods.ts'

const options = { settings: injectionSettings(), clusterDomain: 'cluster.local' }

function resultsOf(text: string, changes: Partial<Parameters<typeof dryRun>[1]> = {}) {
  const run = dryRun(text, { ...options, ...changes })
  if ('problem' in run) throw new Error(run.problem.message)
  return run
}

function problemOf(text: string) {
  const run = dryRun(text, options)
  if (!('problem' in run)) throw new Error('no problem')
  return run.problem
}

t.test('many documents, in JSON and YAML, one result for each pod', async t => {
  const text = [
    '# a comment first',
    '---',
    stringify(headPod()),
    '---   # and one beside the marker',
    JSON.stringify(workerPod()),
    JSON.stringify(submitterPod()),
    '---',
    '# nothing but a comment',
    '---',
    '---',
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [headPod(), workerPod()] }, null, 2),
    '',
    '---',
    stringify({ apiVersion: 'v1', kind: 'PodList', items: [{ ...headPod(), kind: undefined }] }),
    '---',
    JSON.stringify(review(workerPod()))
  ].join('\n')
  const { results, failed } = resultsOf(text)
  t.strictSame(
    results.map(({ source, node }) => `${source}: ${node}`),
    [
      'document 1: head',
      'document 2: worker',
      'document 3: submitter',
      'document 4, item 1: head',
      'document 4, item 2: worker',
      'document 5, item 1: head',
      'document 6: worker'
    ],
    'each with its place'
  )
  t.equal(failed, false, 'all are admitted')
  for (const result of results) t.match(result, { kind: 'Pod', allowed: true, warnings: [] })
  t.strictSame(applied(headPod(), results[0]?.patch ?? []), results[0]?.pod, 'patch and pod agree')
  t.strictSame(resultsOf('').results, [], 'nothing comes of nothing')
  t.strictSame(resultsOf('\uFEFF---\n---\n').results, [], 'nor of empty documents')
})

t.test('a result tells what the certificate will hold', async t => {
  const certificate = (pod: Pod, changes = {}) =>
    resultsOf(JSON.stringify(pod), changes).results[0]?.certificate
  t.strictSame(
    certificate(headPod()),
    {
      dnsNames: ['localhost', '<head service of RayCluster demo>'],
      ipAddresses: ['127.0.0.1', '::1', '<pod IP>'],
      usages: ['digital signature', 'server auth', 'client auth']
    },
    'a head'
  )
  const multiHost = enrolledPods['worker of KubeRay 1.6, multi-host'] as Pod
  t.strictSame(
    certificate(multiHost)?.dnsNames,
    ['localhost', 'host-1.demo-headless.default.svc.cluster.local'],
    'a worker with a host name'
  )
  t.strictSame(
    certificate(workerPod(), { settings: injectionSettings({ keyAlgorithm: 'RSA-2048' }) })?.usages,
    ['digital signature', 'key encipherment', 'server auth', 'client auth'],
    'RSA'
  )
  t.equal(certificate(submitterPod()), undefined, 'a submitter has none')
  t.equal(certificate(workerPod(), { tls: 'no-tls' }), undefined, 'nor has a pod without TLS')
})

t.test('refusals and violations make it fail', async t => {
  const root = headPod({ ray: { securityContext: { runAsUser: 0 } } })
  for (const podSecurity of ['warn', 'audit'] as const) {
    const run = resultsOf(JSON.stringify(root), { podSecurity })
    t.equal(run.failed, true, `${podSecurity}: violations remain`)
    t.equal(run.results[0]?.allowed, true, 'though it is admitted')
  }
  t.equal(resultsOf(JSON.stringify(root), { podSecurity: 'off' }).failed, false, 'off')
  const refused = resultsOf(JSON.stringify(headPod({ spec: { hostNetwork: true } })))
  t.match(refused, {
    failed: true,
    results: [{ node: 'head', allowed: false, message: /^HostNetwork: /, patch: [] }]
  })
  t.notOk(refused.results[0]?.pod, 'there will be no pod')
  const malformed = resultsOf('apiVersion: v1\nkind: Pod\nmetadata: {}\nspec: {}')
  t.match(malformed.results[0]?.message, /spec\.containers must be/, 'what is missing is named')
  const deletion = resultsOf(
    JSON.stringify(review(headPod(), { operation: 'DELETE', object: null }))
  )
  t.match(deletion, { failed: false, results: [{ node: 'none', allowed: true, patch: [] }] })
})

t.test('a former pod of an odd shape is no fault of ours', async t => {
  for (const ephemeralContainers of ['x', [null], { a: 1 }]) {
    const asked = review(
      {
        ...workerPod(),
        spec: { ...workerPod().spec, ephemeralContainers: [{ name: 'debugger' }] }
      },
      {
        operation: 'UPDATE',
        subResource: 'ephemeralcontainers',
        oldObject: { ...workerPod(), spec: { ephemeralContainers } }
      }
    )
    t.match(
      resultsOf(JSON.stringify(asked)).results,
      [{ kind: 'Pod' }],
      JSON.stringify(ephemeralContainers)
    )
  }
})

t.test('what is wrong is named with document, line and column', async t => {
  const pod = JSON.stringify(headPod())
  const rows: [string, string, object][] = [
    [
      'half a Ray resource',
      `${pod}\n---\napiVersion: ray.io/v1\nkind: RayCluster\n`,
      {
        document: 2,
        line: 3,
        column: 1,
        message: /RayCluster: metadata must be an object, found nothing/
      }
    ],
    [
      'another kind',
      'kind: Service',
      { document: 1, line: 1, column: 1, message: /found nothing "Service"/ }
    ],
    ['no kind', 'a: 1', { message: /found nothing nothing/ }],
    ['a text', 'hello', { message: /an object/ }],
    [
      'an item of another kind',
      'apiVersion: v1\nkind: List\nitems: [{kind: Pod, apiVersion: v2}]',
      { message: /items\[0\]/ }
    ],
    [
      'an item that is none',
      'apiVersion: v1\nkind: PodList\nitems: [1]',
      { message: /items\[0\]: an object/ }
    ],
    ['no items', 'apiVersion: v1\nkind: List', { message: /items must be/ }],
    [
      'a review of another version',
      '{"kind":"AdmissionReview"}',
      { message: /admission\.k8s\.io\/v1/ }
    ],
    ['bad YAML', `${pod}\n---\nkind: Pod\n  a: [\n`, { document: 2, line: 3 }],
    ['an unknown tag', 'a: !js/function x', { line: 1, column: 4 }],
    [
      'bad JSON',
      '{\n  "a": 1,\n  b: 2\n}',
      { line: 3, column: 3, message: /key in double quotes/ }
    ],
    ['JSON that ends early', '{"a": [1', { message: /ends within/ }],
    ['something after the brace', '{} x', { line: 1, column: 4, message: /end of the document/ }],
    ['a deep nesting of JSON', '{"a":'.repeat(100_000), { message: /nested too deeply/ }],
    ['a deep nesting of YAML', `a: ${'['.repeat(100_000)}`, { document: 1 }],
    [
      'attack 40: a key twice in JSON',
      '{"kind": "Pod",\n "kind": "Pod"}',
      { line: 2, column: 2, message: /"kind" stands twice/ }
    ],
    [
      'attack 40: a key twice, once escaped',
      '{"a": {"b": 1, "\\u0062": 1}}',
      { message: /stands twice/ }
    ],
    ['attack 40: a key twice in YAML', 'kind: Pod\nkind: Pod', { line: 2, column: 1 }],
    [
      'aliases that multiply',
      `a: &a [1]\n${'bcdefghij'
        .split('')
        .map((key, index) => `${key}: &${key} [${Array(9).fill(`*${'abcdefghij'[index]}`).join()}]`)
        .join('\n')}`,
      { message: /alias/ }
    ]
  ]
  for (const [name, text, wanted] of rows) t.match(problemOf(text), wanted, name)
})

t.test('YAML is read as kubectl reads it', async t => {
  const read = readDocuments(
    'mode: 0444\nhex: 0x10\nnothing: ~\nbase: &base {a: 1}\nmerged:\n  <<: *base\n  b: 2\ntext: |\n  ----\n  --- no marker\n'
  )
  const value = ('documents' in read ? read.documents[0]?.value : undefined) as Record<
    string,
    unknown
  >
  t.equal(value.mode, 0o444, 'octal')
  t.equal(value.hex, 16, 'hexadecimal')
  t.strictSame(value.merged, { a: 1, b: 2 }, 'merge keys')
  t.equal(value.nothing, null, 'nothing')
  t.match(
    problemOf('~: 1'),
    { code: 'Malformed' },
    'a key that is none is refused, as kubectl does'
  )
  t.match(value.text, /no marker/, 'an indented marker is text')
})

t.test('the scanner and JSON.parse agree on what is JSON', async () => {
  const keyed = fc.jsonValue({ maxDepth: 4 }).map(value => ({ a: value }))
  fc.assert(
    fc.property(
      keyed,
      fc.constantFrom(undefined, 1, '\t'),
      fc.nat(),
      fc.string({ maxLength: 2 }),
      (value, space, place, junk) => {
        const text = JSON.stringify(value, null, space)
        // JSON.parse takes it; here it is never valid.
        fc.pre(!text.includes('"__proto__"'))
        const scan = scanJson(text, 0)
        if (!('end' in scan) || scan.end !== text.length) throw new Error(`refused: ${text}`)
        const at = place % text.length
        const broken = text.slice(0, at) + junk + text.slice(at + 1)
        let parses = true
        try {
          JSON.parse(broken)
        } catch {
          parses = false
        }
        const again = scanJson(broken, 0)
        const whole = 'end' in again && broken.slice(again.end).trim() === ''
        if (whole && !parses) throw new Error(`accepted: ${broken}`)
        if (!whole && parses && !('problem' in again && /twice|never valid/.test(again.problem))) {
          throw new Error(`refused: ${broken}`)
        }
      }
    ),
    { numRuns: 3000 }
  )
})

interface Output {
  code: number
  stdout: string
  stderr: string
}

async function run(argumentsList: string[], stdin = '', environment = {}): Promise<Output> {
  const output = { stdout: '', stderr: '' }
  const code = await command.run(argumentsList, {
    stdin: Readable.from([Buffer.from(stdin)]),
    stdout: { write: text => (output.stdout += text) },
    stderr: { write: text => (output.stderr += text) },
    environment,
    signal: new AbortController().signal
  })
  return { code, ...output }
}

t.test('the command: outputs and exit codes', async t => {
  t.equal(command.summary, summaries['dry-run'], 'the summary is the one of the main help')
  const two = `${JSON.stringify(headPod())}\n${JSON.stringify(workerPod())}`
  const json = await run(['-f', '-'], two)
  t.equal(json.code, 0, 'all well')
  t.equal(JSON.parse(json.stdout).results.length, 2, 'two results')
  const patches = await run(['-f', '-', '-o', 'patch'], two)
  const lines = patches.stdout.trimEnd().split('\n')
  t.equal(lines.length, 2, 'one patch a line')
  const worker = applied(workerPod(), JSON.parse(lines[1] ?? '') as Operation[])
  t.equal(worker.spec.initContainers?.[0]?.name, 'rayguard-enroll', 'that applies')
  const foreign = JSON.stringify(headPod({ spec: { hostNetwork: true } }))
  const refused = await run(['-f', '-', '-o', 'patch'], foreign)
  t.match(refused, { code: 1, stdout: '[]\n', stderr: /HostNetwork/ }, 'a refusal is said beside')
  const root = JSON.stringify(headPod({ ray: { securityContext: { runAsUser: 0 } } }))
  t.match(await run(['-f', '-', '-o', 'patch'], root), { code: 1, stderr: /runAsUser/ }, 'remains')
  t.equal((await run(['-f', '-', '--profile', 'off'], root)).code, 0, 'not looked at')
  t.equal((await run(['-f', '-', '--tls', 'no-tls'], foreign)).code, 1, 'violations remain')
  t.match(
    await run(['-f', '-'], 'kind: Service'),
    { code: 2, stdout: '', stderr: /standard input: document 1, line 1, column 1: / },
    'a document of another kind'
  )
  const wrong: string[][] = [
    [],
    ['-f', ''],
    ['-f', '-', '-o', 'xml'],
    ['-f', '-', '--profile', 'x'],
    ['-f', '-', '--tls', 'x'],
    ['-f', '/nowhere']
  ]
  for (const list of wrong) await t.rejects(run(list), UsageError, `refused: ${list.join(' ')}`)
  await t.rejects(run(['--unknown']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' }, 'unknown option')
  const directory = t.testdir({ latin: Buffer.from([0xff, 0xfe]) })
  await t.rejects(run(['-f', join(directory, 'latin')]), UsageError, 'no UTF-8')
})

t.test('with the webhook’s settings the patch is the webhook’s, byte for byte', async t => {
  const directory = t.testdir({ 'ca.pem': options.settings.serverCa })
  const config = join(directory, 'config.yaml')
  const { settings } = options
  await writeFile(
    config,
    stringify({
      components: ['webhook'],
      injection: {
        image: 'registry.test/rayguard:1',
        serverUrl: settings.serverUrl,
        serverCaFile: join(directory, 'ca.pem')
      },
      enrollment: { audience: 'other' }
    })
  )
  const live = admit(
    review(workerPod()),
    {},
    injectionSettings({
      image: 'registry.test/rayguard:1',
      formerImages: [],
      imageMirrors: [],
      tokenAudience: 'other'
    })
  )
  const file = join(directory, 'review.json')
  await writeFile(file, JSON.stringify(review(workerPod())))
  const wanted = Buffer.from(live.answer.response.patch ?? '', 'base64').toString('utf8')
  const list = ['-f', file, '-o', 'patch']
  t.equal((await run([...list, '--config', config])).stdout, `${wanted}\n`, 'by option')
  const environment = { RAYGUARD_CONFIG: config }
  t.equal((await run(list, '', environment)).stdout, `${wanted}\n`, 'by variable')
  await writeFile(config, 'injection: {image: 1}')
  t.match(
    await run([...list, '--config', config]),
    { code: 2, stderr: /injection\.image/ },
    'wrong'
  )
  const authority = 'authority: {kind: pem, certificateFile: /x, privateKeyFile: /y}'
  await writeFile(config, `components: [enrollment]\ninjection: {image: "a:1"}\n${authority}\n`)
  t.match((await run([...list, '--config', config])).stdout, /CA of the enrollment/, 'without a CA')
})

t.test('as a program', async t => {
  const file = join(t.testdir({ 'pod.yaml': stringify(headPod()) }), 'pod.yaml')
  const output = await new Promise<string>((resolve, reject) => {
    execFile('node', ['dist/rayguard.js', 'dry-run', '-f', file, '-o', 'patch'], (error, stdout) =>
      error ? reject(error) : resolve(stdout)
    )
  })
  t.match(output, /^\[\{"op":"add","path":"\/spec\/initContainers"/, 'prints a patch')
})

t.test('a place is the same, in whatever order places are asked for', async t => {
  const text = 'a\n\nbc\r\nd'
  const wanted = [...text, ''].map((_, offset) => {
    const before = text.slice(0, offset).split('\n')
    return { line: before.length, column: (before.at(-1) ?? '').length + 1 }
  })
  const forwards = createPlaces(text)
  t.strictSame(
    wanted.map((_, offset) => forwards(offset)),
    wanted,
    'forwards'
  )
  const backwards = createPlaces(text)
  t.strictSame(
    wanted.map((_, index) => backwards(wanted.length - 1 - index)).reverse(),
    wanted,
    'backwards'
  )
})

t.test('a line is looked through once, however many places in it are asked for', async t => {
  let looks = 0
  class CountedText extends String {
    override indexOf(searched: string, from?: number): number {
      looks += 1
      return super.indexOf(searched, from)
    }
  }
  const documents = '{}'.repeat(1000)
  const text = new CountedText(`${documents}\n${documents}`)
  const placeOf = createPlaces(text as unknown as string)
  for (let at = 0; at < text.length; at += 2) placeOf(at)
  t.strictSame(placeOf(text.length), { line: 2, column: 2001 })
  t.equal(looks, 2, 'one for each line')
})
