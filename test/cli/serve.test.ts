import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { command } from '../../src/cli/serve.ts'
import type { Namespace } from '../../src/kubernetes/objects.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { headPod, review, workerPod } from '../support/builders.ts'
import { captureIo } from '../support/cli.ts'
import { eventually } from '../support/cluster.ts'
import { clientToken, servingPair } from '../support/enrollment-stage.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import { image, rayCluster, rayPod } from '../support/ray-objects.ts'
import { get, makePodsCa, pair, place, post, ready, serve } from '../support/served.ts'

const program = join(import.meta.dirname, '../../dist/rayguard.js')

function namespace(
  name: string,
  labels: Record<string, string> = {},
  uid = `${name}-uid`
): Namespace {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, uid, labels } }
}

t.test('a whole run: admission, certificate, metrics, end; and no secret in the log', async t => {
  const { standIn, settings, file } = await place(t)
  standIn.put(namespace('team-a'))
  standIn.put(rayCluster())
  const pod = standIn.put(rayPod({ ips: ['127.0.0.7'] }))
  const served = serve(t, settings())
  const [webhook, enrollment, ops] = await Promise.all(
    ['webhook', 'enrollment', 'ops'].map(served.port)
  )
  await ready(ops as number)

  const admitted = await post(webhook as number, '/mutate', review(headPod()))
  t.match(
    admitted.json,
    { response: { allowed: true, patchType: 'JSONPatch' } },
    'a pod is patched'
  )
  const patch = Buffer.from(String(admitted.json.response?.patch), 'base64').toString('utf8')
  t.match(patch, /rayguard-enroll[\s\S]*RAYGUARD_SERVER_CA/, 'with the init container')
  const root = workerPod({ ray: { securityContext: { runAsUser: 0 } } })
  const violating = await post(webhook as number, '/mutate', review(root))
  t.match(String(violating.json.response?.warnings), /runAsUser=0/, 'what it cannot mend is said')
  const template = { spec: { containers: [{ name: 'ray', image: 'rayproject/ray:2.58.0' }] } }
  const cluster = { ...rayCluster(), spec: { headGroupSpec: { template } } }
  const kind = { group: 'ray.io', version: 'v1', kind: 'RayCluster' }
  const foretold = await post(webhook as number, '/validate', review(cluster, { kind }))
  t.match(
    foretold.json.response,
    { allowed: true, warnings: [/spec\.headGroupSpec.*: Rayguard mends allowPrivilegeEscalation/] },
    'whoever applies a RayCluster is told of its pods'
  )

  const [address = ''] = (pod.status?.podIPs ?? []).map(({ ip }) => ip)
  const token = standIn.issueToken(pod)
  const csr = createCertificateRequest(newKey())
  const certificate = () =>
    post(
      enrollment as number,
      '/v1/certificates',
      { csr, podIPs: [address] },
      {
        localAddress: address,
        headers: { authorization: `Bearer ${token}` }
      }
    )
  const issued = await certificate()
  t.equal(issued.status, 201, `a certificate is issued ${issued.text.slice(0, 100)}`)
  t.equal(
    issued.json.trustAnchors,
    readFileSync(file('pods.crt'), 'utf8'),
    'under the CA of the settings'
  )

  const refusals = [
    await post(
      enrollment as number,
      '/v1/certificates',
      { csr, podIPs: [address] },
      { headers: { authorization: `Bearer ${token}` } }
    ),
    await post(enrollment as number, '/v1/certificates', { csr, podIPs: [address] }),
    await post(
      enrollment as number,
      '/v1/certificates',
      { csr: csr.slice(0, 90), podIPs: [address] },
      { localAddress: address, headers: { authorization: `Bearer ${token}` } }
    ),
    await post(enrollment as number, '/v1/certificates', { csr, podIPs: [address], more: token })
  ]
  t.strictSame(
    refusals.map(({ json }) => json.code),
    ['SourceAddress', 'TokenRequired', 'CsrMalformed', 'BadRequest'],
    'others are refused'
  )
  standIn.interfere(({ path }) =>
    path.includes('tokenreviews') ? { status: 500, body: `no ${token}` } : undefined
  )
  const other = standIn.issueToken(pod, { audience: 'rayguard' })
  const unavailable = await post(
    enrollment as number,
    '/v1/certificates',
    { csr, podIPs: [address] },
    { localAddress: address, headers: { authorization: `Bearer ${other}` } }
  )
  t.equal(unavailable.json.code, 'ApiUnavailable', 'while the API fails')
  standIn.interfere(undefined)

  const metrics = (await get(ops as number, '/metrics')).text
  for (const line of [
    'rayguard_admissions_total{kind="head",code="Allowed"} 1',
    'rayguard_pod_security_violations_total{check="runAsUser"} 1',
    'rayguard_resource_reviews_total{kind="RayCluster",result="mended"} 1',
    'rayguard_certificate_requests_total{code="Issued"} 1',
    'rayguard_certificate_requests_total{code="SourceAddress"} 1',
    'rayguard_http_replies_total{listener="enrollment",status="201"} 1',
    'rayguard_reloads_total{thing="authority",result="done"} 1',
    'rayguard_certificate_requests_in_progress 0'
  ])
    t.ok(metrics.includes(`${line}\n`), line)
  const described = readFileSync('docs/metrics.md', 'utf8')
  for (const [, name] of metrics.matchAll(/^# TYPE (rayguard_\w+)/gm))
    t.ok(described.includes(`| \`${name}\` |`), `docs/metrics.md describes ${name}`)
  t.notMatch(
    metrics,
    /team-a|demo-worker|127\.0\./,
    'attack: no label names a namespace, a pod or an address'
  )
  t.equal(await served.stop(), 0, 'it ends well')

  const log = served.log()
  t.match(log, /"msg":"certificate issued"/, 'the log has the certificate')
  t.match(log, /"requestId":"[0-9a-f-]{36}"/, 'with the id that the client was told')
  const body = (pem: string) => pem.split('\n')[1] ?? pem
  const secrets = {
    token,
    other,
    clientToken,
    csr: body(csr),
    'half a csr': csr.slice(30, 80).split('\n')[1] ?? '',
    'key of the CA': body(readFileSync(file('pods.key'), 'utf8')),
    'key of the server': body(pair.privateKey),
    certificate: body(String(issued.json.certificate))
  }
  for (const [what, secret] of Object.entries(secrets)) {
    t.ok(secret.length > 5, `${what}: something to look for`)
    t.notOk(log.includes(secret), `attack: ${what} is not in the log`)
    t.notOk(metrics.includes(secret), `nor in the metrics`)
  }
})

t.test('the preview beside the webhook: the same bytes, and it never holds it up', async t => {
  const { standIn, settings } = await place(t)
  standIn.put(namespace('team-a'))
  const anywhere = { address: '127.0.0.1', port: 0 }
  const listen = { webhook: anywhere, enrollment: anywhere, preview: anywhere, ops: anywhere }
  const served = serve(t, settings({ listen, components: ['webhook', 'preview'] }))
  const [webhook = 0, preview = 0, ops = 0] = await Promise.all(
    ['webhook', 'preview', 'ops'].map(served.port)
  )
  await ready(ops)
  const root = workerPod({ ray: { securityContext: { runAsUser: 0 } } })
  for (const pod of [headPod(), workerPod(), root]) {
    const asked = review(pod)
    const { response } = (await post(webhook, '/mutate', asked)).json
    const patch = await post(preview, '/dry-run?output=patch', asked)
    t.equal(patch.status, 200)
    t.equal(patch.text, Buffer.from(String(response?.patch), 'base64').toString(), 'the same bytes')
  }
  const settled: string[] = []
  const slow = post(preview, '/dry-run?diff=true', {
    apiVersion: 'v1',
    kind: 'List',
    items: Array(200).fill(workerPod())
  }).then(({ status }) => settled.push(`preview ${status}`))
  for (let count = 0; count < 20; count += 1) {
    const { json } = await post(webhook, '/mutate', review(workerPod()))
    settled.push(`webhook ${json.response?.allowed}`)
  }
  await slow
  t.strictSame(
    settled.toSorted(),
    ['preview 200', ...Array(20).fill('webhook true')],
    'all are answered'
  )
  t.ok(
    settled.indexOf('preview 200') > 0,
    'admissions go on while 200 pods are worked out: the first does not wait for them'
  )
  t.equal(await served.stop(), 0, 'it ends well')
})

t.test('the webhook answers nobody before it knows the labels of namespaces', async t => {
  const { standIn, settings } = await place(t)
  let letGo = () => {}
  const gate = new Promise<void>(resolve => {
    letGo = resolve
  })
  standIn.interfere(({ path }) => (path === '/api/v1/namespaces' ? { until: gate } : undefined))
  standIn.put(namespace('team-a', { 'rayguard.dev/tls': 'disabled' }))
  standIn.put(
    namespace('team-b', { 'rayguard.dev/tls': 'nonsense', 'kubernetes.io/metadata.name': 'team-b' })
  )
  const served = serve(t, settings(), ['--components', 'webhook'])
  const ops = await served.port('ops')
  const report = (await get(ops, '/readyz')).json
  t.match(
    report,
    { ready: false, checks: { namespaces: /not known/, webhook: /not listen/, serving: 'ok' } },
    'the probe says what is missing'
  )
  t.notMatch(served.log(), /"listener":"webhook".*"listening"/, 'no port is open')
  letGo()
  const webhook = await served.port('webhook')
  await ready(ops)

  const env = async (name: string) => {
    const { json } = await post(webhook, '/mutate', review(headPod(), { namespace: name }))
    const patch = Buffer.from(String(json.response?.patch ?? ''), 'base64').toString('utf8')
    return json.response?.allowed === true ? /RAY_USE_TLS/.test(patch) : 'refused'
  }
  t.equal(await env('team-a'), false, 'a label that turns TLS off is heeded')
  t.equal(await env('team-b'), 'refused', 'one that is not known refuses')
  standIn.put(namespace('team-c'))
  t.equal(await env('team-c'), true, 'without a label TLS is on, also where it came a moment ago')
  const early = post(webhook, '/mutate', review(headPod(), { namespace: 'team-d' }))
  t.equal((await early).status, 503, 'a pod whose namespace is not known has to come again')
})

t.test('nothing is decided by what a lost watch showed last', async t => {
  const { standIn, settings } = await place(t)
  standIn.put(namespace('team-a', { 'rayguard.dev/tls': 'disabled' }))
  const served = serve(t, settings(), ['--components', 'webhook'])
  const webhook = await served.port('webhook')
  const ops = await served.port('ops')
  await ready(ops)
  // As the API server has it: a connection that is kept, whatever the probe says.
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  t.teardown(() => agent.destroy())
  const admitted = (path: string) => post(webhook, path, review(headPod()), { agent })
  t.equal((await admitted('/mutate')).status, 200)
  // Both watches are open: what opens later would count as heard of.
  standIn.put(namespace('team-b', { 'rayguard.dev/paused': '' }))
  const { metadata, ...shape } = headPod()
  standIn.put({ ...shape, metadata: { ...metadata, namespace: 'team-b', name: 'b', uid: 'b-uid' } })
  await eventually('both are shown', async () => {
    const { text } = await get(ops, '/metrics')
    return ['namespaces_paused', 'clusters_without_tls'].every(name =>
      text.includes(`rayguard_${name} 1\n`)
    )
  })

  const lists = /\/(namespaces|pods)$/
  standIn.interfere(({ path }) => (lists.test(path) ? { status: 403 } : undefined))
  standIn.watches.dropAll()
  standIn.put(namespace('team-a', { 'rayguard.dev/tls': 'required' }))
  const steady = performance.now.bind(performance)
  t.intercept(performance, 'now', { value: () => steady() + 3_600_000 })
  t.match((await ready(ops, 503)).json.checks, { namespaces: /not known/, clusters: /not known/ })
  t.match(await admitted('/mutate'), { status: 503, text: /labels of the namespace/ })
  t.match(await admitted('/mutate/enforce/tls'), { status: 503, text: /running Ray clusters/ })
  const kind = { group: 'ray.io', version: 'v1', kind: 'RayCluster' }
  const foretold = await post(webhook, '/validate/off/tls', review(rayCluster(), { kind }))
  t.match(foretold.json.response, { allowed: true, warnings: [/Ray clusters are not known/] })

  standIn.interfere(undefined)
  await ready(ops)
  const again = await admitted('/mutate')
  const patch = Buffer.from(String(again.json.response?.patch ?? ''), 'base64').toString('utf8')
  t.match(patch, /RAY_USE_TLS/, 'once the watches are back, by what they show')
})

t.test('a namespace that is made anew has the labels of the new one', async t => {
  const { standIn, settings } = await place(t)
  const old = standIn.put(namespace('team-a', { 'rayguard.dev/tls': 'disabled' }, 'first'))
  const served = serve(t, settings(), ['--components', 'webhook'])
  const webhook = await served.port('webhook')
  const kind = async () => {
    const { json } = await post(webhook, '/mutate', review(headPod(), { namespace: 'team-a' }))
    return json.response?.allowed
  }
  t.equal(await kind(), true, 'admitted at first')
  standIn.remove(old)
  standIn.put(namespace('team-a', { 'rayguard.dev/tls': 'nonsense' }, 'second'))
  while ((await kind()) !== false);
  t.pass('refused by the new label')
  standIn.put(namespace('team-a', {}, 'second'))
  while ((await kind()) !== true);
  t.pass('admitted when it is gone')
})

t.test('the webhook’s process never touches the authority', async t => {
  const { settings, file } = await place(t)
  const authority = { certificateFile: file('absent.crt'), privateKeyFile: file('absent.key') }
  const served = serve(t, settings({ authority }), ['--components', 'webhook'])
  const ops = await served.port('ops')
  const { json } = await ready(ops)
  t.strictSame(
    Object.keys(json.checks as object).sort(),
    ['clusters', 'namespaces', 'serverCa', 'serving', 'webhook'],
    'it has no such check'
  )
  t.equal(await served.stop(), 0, 'and ends well')
})

t.test('files that are replaced while it runs are taken, and bad ones are not', async t => {
  const { standIn, settings, file } = await place(t)
  standIn.put(namespace('team-a'))
  chmodSync(file('pods.key'), 0o644)
  const served = serve(t, settings())
  const ops = await served.port('ops')
  const webhook = await served.port('webhook')
  await ready(ops)
  t.match(await served.said('the CA could be better kept'), { warning: /chmod/ }, 'a warning')

  const next = servingPair()
  writeFileSync(file('tls.crt'), next.certificate)
  writeFileSync(file('tls.key'), next.privateKey)
  await served.said('the server certificate is read anew', 'webhook')
  const asked = review(headPod())
  await t.rejects(post(webhook, '/mutate', asked), 'who trusts the old CA alone is not served')
  t.equal(
    (await post(webhook, '/mutate', asked, { ca: next.ca })).status,
    200,
    'who trusts the new one is'
  )
  writeFileSync(file('tls.key'), 'nonsense')
  const failed = await served.said(
    'the changed server certificate cannot be used; the former one stays',
    'webhook'
  )
  // Or the moment between the two files above, when they did not belong together.
  const code = /^(?:Malformed|Mismatch)$/
  t.match(failed, { level: 'error', err: { code } }, 'a bad one is told')
  t.equal((await post(webhook, '/mutate', asked, { ca: next.ca })).status, 200, 'and not used')

  const injected = async (ca: string) => {
    const { json } = await post(webhook, '/mutate', asked, { ca: next.ca })
    const patch = Buffer.from(String(json.response?.patch), 'base64').toString('utf8')
    return patch.includes(JSON.stringify(ca.trim()).slice(1, -1))
  }
  t.notOk(await injected(next.ca), 'pods are told of the CA that was there at first')
  writeFileSync(file('ca.crt'), next.ca)
  while (!(await injected(next.ca)));
  writeFileSync(file('ca.crt'), 'nonsense')
  await served.said('the CA that pods trust for enrollment')
  t.ok(await injected(next.ca), 'then of the new one, and never of nonsense')

  writeFileSync(file('pods.crt'), 'nonsense')
  await served.said('the changed CA cannot be used; the former one signs on')
  const metrics = (await get(ops, '/metrics')).text
  t.match(metrics, /rayguard_reloads_total\{thing="serving",result="done"\} [1-9]/, 'counted')
  t.match(metrics, /rayguard_reloads_total\{thing="serving",result="failed"\} [1-9]/, 'counted')
  t.match(metrics, /rayguard_reloads_total\{thing="authority",result="failed"\} [1-9]/, 'counted')
  t.equal((await get(ops, '/readyz')).status, 200, 'it is ready all the while')
})

t.test('rights that are missing are named by the probe and the log', async t => {
  const { standIn, settings } = await place(t)
  standIn.deny('get /pods', 'create authentication.k8s.io/tokenreviews')
  const served = serve(t, settings(), ['--components', 'enrollment'])
  const ops = await served.port('ops')
  t.match(
    await served.said('this service account lacks rights'),
    { missing: ['create tokenreviews.authentication.k8s.io', 'get pods'] },
    'in the log'
  )
  t.match(
    (await get(ops, '/readyz')).json,
    {
      ready: false,
      checks: { rights: 'missing: create tokenreviews.authentication.k8s.io, get pods' }
    },
    'and by the probe'
  )
  t.strictSame((await get(ops, '/status')).json.clientCertificates, { enabled: false })
})

t.test('no pod waits because a right for client certificates is missing', async t => {
  const { standIn, settings } = await place(t)
  standIn.deny('sign certificates.k8s.io/signers')
  const changes = { clientCertificates: { enabled: true } }
  const served = serve(t, settings(changes), ['--components', 'enrollment'])
  const ops = await served.port('ops')
  const missing = ['sign signers.certificates.k8s.io rayguard.dev/ray-client']
  t.match(await served.said('this service account lacks rights'), { missing }, 'it is in the log')
  await ready(ops)
  t.match(
    (await get(ops, '/status')).json.clientCertificates,
    { enabled: true, problem: `missing: ${missing}` },
    'and it says so itself'
  )
})

t.test('who may not see which setting of trust holds is not ready, also with shared', async t => {
  const { standIn, settings } = await place(t)
  standIn.interfere(({ path }) => (path.includes('/secrets') ? { status: 403 } : undefined))
  const served = serve(t, settings({ trust: 'shared' }), ['--components', 'enrollment'])
  const ops = await served.port('ops')
  const said = await served.said('which setting of trust holds cannot be seen; again soon')
  t.match(said, { err: { code: 'Forbidden' } }, 'the log has the reason')
  t.match(
    (await get(ops, '/readyz')).json,
    { checks: { trust: /rayguard-clusters/ } },
    'so it says'
  )
})

t.test('a version that leaves no record counts as long as its replicas are there', async t => {
  const { standIn, settings } = await place(t)
  for (const template of ['of-now', 'of-before'])
    standIn.put({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: template,
        namespace: 'rayguard-system',
        labels: {
          'app.kubernetes.io/name': 'rayguard',
          'app.kubernetes.io/component': 'enrollment',
          'pod-template-hash': template
        }
      }
    })
  const began = Date.now()
  const served = serve(t, settings({ trust: 'perCluster' }), ['--components', 'enrollment'])
  const { since } = await served.said('which setting of trust holds for all replicas')
  t.ok(Date.parse(String(since)) >= began, 'clusters of before are told apart')
})

t.test('while the API is away it starts, says so, and is not ready', async t => {
  const { standIn, settings } = await place(t)
  standIn.interfere(() => ({ reset: true }))
  const served = serve(t, settings())
  const ops = await served.port('ops')
  t.match(
    await served.said('a watch failed and is tried again'),
    { level: 'warn', err: { code: 'Unavailable' } },
    'the log has the reason'
  )
  await served.said('the rights of this service account cannot be asked for')
  t.match(
    (await get(ops, '/readyz')).json,
    { checks: { pods: /not known/, namespaces: /not known/, rights: /does not answer/ } },
    'each check says what it waits for'
  )
  t.equal(await served.stop(), 0, 'it can be ended all the same')
})

t.test('what is wrong with the settings ends it with 2 and a sentence', async t => {
  const { settings, file } = await place(t)
  writeFileSync(file('other.key'), newKey().export({ type: 'pkcs8', format: 'pem' }) as string)
  const cases: [string, Record<string, unknown>, RegExp][] = [
    [
      'a wrong value',
      { trust: 'everybody' },
      /config\.yaml:\d+:\d+: trust: expected perCluster or shared/
    ],
    [
      'another key',
      {
        serving: {
          kind: 'files',
          certificateFile: file('tls.crt'),
          privateKeyFile: file('other.key')
        }
      },
      /serving\.privateKeyFile: .*another key/
    ],
    [
      'no server certificate',
      { serving: { kind: 'files', certificateFile: '/none', privateKeyFile: '/none' } },
      /serving\.certificateFile: there is no file \/none/
    ],
    [
      'no CA',
      { authority: { certificateFile: '/none', privateKeyFile: '/none' } },
      /authority: .*\/none/
    ],
    [
      'another key of the CA',
      { authority: { certificateFile: file('pods.crt'), privateKeyFile: file('other.key') } },
      /authority: .*does not belong/
    ],
    ['no kubeconfig', { kubernetes: { kubeconfigFile: '/none' } }, /kubernetes: .*\/none/],
    [
      'outside of a cluster',
      { kubernetes: {} },
      /kubernetes\.kubeconfigFile: .*does not run in a pod/
    ],
    [
      'no CA for pods',
      { injection: { image, serverUrl: 'https://a', serverCaFile: '/none' } },
      /injection\.serverCaFile: .*\/none/
    ]
  ]
  for (const [what, changes, message] of cases) {
    const io = captureIo()
    t.equal(await command.run(['--config', settings(changes)], io), 2, `${what}: 2`)
    t.match(io.err(), message, 'with the setting at fault')
  }
  const io = captureIo({ KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: '1' })
  t.equal(
    await command.run(['--config', settings({ kubernetes: {} })], io),
    2,
    'in a pod without a mounted token: 2'
  )
  t.match(io.err(), /serviceaccount\/ca\.crt cannot be read/, 'it says which file is missing')
  const wrong = captureIo()
  t.equal(
    await command.run(['--config', settings(), '--components', 'webhook,dashboard'], wrong),
    2,
    'an unknown component: 2'
  )
})

t.test('a CA that signs no CAs ends it where each RayCluster is to have one', async t => {
  const here = await place(t)
  const certificateFile = here.file('pods.crt')
  const pem = { certificateFile, privateKeyFile: here.file('pods.key') }
  const signer = { kind: 'kubernetes-csr', certificateFile, signerName: 'a.test/pods' }
  const ofCas = { ...signer, intermediateSignerName: 'a.test/cas' }
  const names = 'nameConstraints=critical,permitted;DNS:cluster.local,permitted;DNS:localhost'
  const cases: [string, object, () => void, RegExp][] = [
    ['no room', pem, () => makePodsCa(here.file, 0), /path length of the CA \(0\) leaves no room/],
    [
      'name constraints',
      pem,
      () => makePodsCa(here.file, 1, ['-addext', names]),
      /has name constraints, which pods that trust an intermediate would not see/
    ],
    [
      'the same of a CA whose key is elsewhere',
      ofCas,
      () => {},
      /has name constraints, which pods/
    ],
    [
      'a signer for pods alone',
      signer,
      () => makePodsCa(here.file),
      /authority\.intermediateSignerName/
    ]
  ]
  for (const [what, authority, make, why] of cases) {
    make()
    const io = captureIo()
    const settings = here.settings({ trust: 'perCluster', authority })
    t.equal(await command.run(['--config', settings, '--components', 'enrollment'], io), 2, what)
    t.match(io.err(), why, `${what}: why`)
    t.match(io.err(), /trust: shared.*docs\/trust\.md/, 'and the way out')
    t.notMatch(io.out(), /"msg":"listening"/, 'no port was opened')
  }
  makePodsCa(here.file, 0, ['-addext', names])
  const shared = here.settings({ trust: 'shared' })
  t.ok(
    await ready(await serve(t, shared, ['--components', 'enrollment']).port('ops')),
    'where all share it, such a CA signs pods'
  )
})

t.test('a port in use ends it with the name of the setting', async t => {
  const { settings } = await place(t)
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  t.teardown(() => other.close())
  const { port } = other.address() as { port: number }
  const free = { address: '127.0.0.1', port: 0 }
  for (const name of ['webhook', 'enrollment', 'ops']) {
    const listen = {
      webhook: free,
      enrollment: free,
      ops: free,
      [name]: { address: '127.0.0.1', port }
    }
    const run = command.run(['--config', settings({ listen })], captureIo())
    await t.rejects(
      run,
      { code: 'PortInUse', message: new RegExp(`listen\\.${name}\\.port: .*${port}`) },
      name
    )
  }
})

t.test('asked to end before it has begun, it ends', async t => {
  const { standIn, settings } = await place(t)
  standIn.interfere(() => ({ until: new Promise(() => {}) }))
  const io = captureIo()
  io.abort()
  t.equal(await command.run(['--config', settings()], io), 0, 'and well')
})

/** The bundle as a process; resolves when it is ready. */
async function bundled(
  t: Test,
  settings: string
): Promise<{ child: ChildProcess; log(): string; ops: number }> {
  const child = spawn(process.execPath, [program, 'serve', '--config', settings], {
    env: {},
    stdio: ['ignore', 'pipe', 'pipe']
  })
  t.teardown(() => child.kill('SIGKILL'))
  let log = ''
  const ops = await new Promise<number>((resolve, reject) => {
    child.once('exit', () => reject(new Error(log)))
    child.stderr?.on('data', data => {
      log += data
    })
    child.stdout?.on('data', data => {
      log += data
      const line = /^\{.*"listener":"ops".*"port":(\d+).*\}$/m.exec(log)
      if (line) resolve(Number(line[1]))
    })
  })
  await ready(ops)
  return { child, log: () => log, ops }
}

t.test('as a process: SIGTERM ends it with 0, a second one at once', async t => {
  const { settings } = await place(t)
  const { child } = await bundled(t, settings())
  child.kill('SIGTERM')
  t.strictSame(await once(child, 'exit'), [0, null], 'one signal')

  const patient = await bundled(t, settings({ shutdown: { drain: '5m', deadline: '10m' } }))
  patient.child.kill('SIGTERM')
  await ready(patient.ops, 503)
  t.match(
    (await get(patient.ops, '/readyz')).json,
    { checks: { shutdown: 'shutting down' } },
    'it drains'
  )
  patient.child.kill('SIGTERM')
  t.strictSame(await once(patient.child, 'exit'), [143, null], 'the second signal')
})
