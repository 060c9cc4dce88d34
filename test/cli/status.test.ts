import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { command as ca } from '../../src/cli/ca.ts'
import { pauseCommand } from '../../src/cli/pause.ts'
import { command as resume } from '../../src/cli/resume.ts'
import type { Check } from '../../src/cli/status/check.ts'
import type { ClusterReport, NamespaceReport } from '../../src/cli/status/ray.ts'
import { statusCommand } from '../../src/cli/status.ts'
import type { ReplicaStatus } from '../../src/contract/status.ts'
import { createStandIn, type Fault, type StandIn } from '../../src/demo/stand-in.ts'
import type { Namespace, Pod, WebhookConfiguration } from '../../src/kubernetes/objects.ts'
import { headPod, workerPod } from '../support/builders.ts'
import { runCommand } from '../support/cli.ts'
import { clientToken, servingPair } from '../support/enrollment-stage.ts'

const pair = servingPair()
const other = servingPair()
const now = Date.now()
const inDays = (days: number) => new Date(now + days * 86_400_000).toISOString()

interface Stage {
  standIn: StandIn
  /** What the replica of this name says of itself; undefined does not answer. */
  says: Map<string, ReplicaStatus | undefined>
  /** Paths that are answered so instead. */
  faults: Map<RegExp, Fault>
  kubeconfig: string
  status(...argumentsList: string[]): Promise<Told>
}

interface Told {
  code: number
  text: string
  checks: Check[]
  namespaces: NamespaceReport[]
  clusters: ClusterReport[]
  /** States by the id of the check, each once. */
  states(id: string): string[]
}

/** A stand-in for the API with a whole installation in it. */
async function stage(t: Test): Promise<Stage> {
  const standIn = createStandIn({ ...pair, clientToken, clock: () => now })
  const server = await standIn.listen()
  t.teardown(() => standIn.close())
  const kubeconfig = join(t.testdir({}), 'kubeconfig')
  const cluster = { server, 'certificate-authority-data': Buffer.from(pair.ca).toString('base64') }
  writeFileSync(
    kubeconfig,
    stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'a', cluster }],
      users: [{ name: 'a', user: { token: clientToken } }],
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
      'current-context': 'a'
    })
  )
  const says = new Map<string, ReplicaStatus | undefined>()
  const faults = new Map<RegExp, Fault>()
  const version = { major: '1', minor: '37+', gitVersion: 'v1.37.2' }
  standIn.interfere(({ path }) => {
    for (const [pattern, fault] of faults) if (pattern.test(path)) return fault
    if (path === '/version') return { status: 200, body: version }
    const [, name] = /\/pods\/([^/]+)(?::|%3A)8080\/proxy\/status$/.exec(path) ?? []
    if (name === undefined) return undefined
    const told = says.get(name)
    return told === undefined ? { status: 502 } : { status: 200, body: told }
  })
  for (const name of ['rayguard-system', 'kube-system', 'team-a', 'team-b']) put(standIn, name)
  standIn.put(registration())
  standIn.put(warnings())
  for (const component of ['webhook', 'enrollment']) {
    for (const at of ['1', '2']) {
      const name = `rayguard-${component}-${at}`
      standIn.put(replica(name, component))
      says.set(name, replicaStatus(component))
    }
  }
  const run = async (argumentsList: string[]) => {
    const command = statusCommand(() => now)
    return runCommand(command, ['--kubeconfig', kubeconfig, ...argumentsList])
  }
  return {
    ...{ standIn, says, faults, kubeconfig },
    async status(...argumentsList) {
      const text = await run(argumentsList)
      const { code, out } = await run([...argumentsList, '-o', 'json'])
      t.equal(code, text.code, 'both forms end alike')
      const told = JSON.parse(out) as Pick<Told, 'checks' | 'namespaces' | 'clusters'>
      for (const { state, advice, id } of told.checks)
        if (state === 'failed') t.ok(advice, `${id}: what is wrong comes with what to do`)
      const states = (id: string) => [
        ...new Set(told.checks.filter(check => check.id === id).map(({ state }) => state))
      ]
      return { code, text: text.out, ...told, states }
    }
  }
}

function put(standIn: StandIn, name: string, labels: Record<string, string> = {}): void {
  const namespace: Namespace = {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { 'kubernetes.io/metadata.name': name, ...labels } }
  }
  standIn.put(namespace)
}

function registration(ca = pair.ca): WebhookConfiguration {
  return configuration('MutatingWebhookConfiguration', ca, 'Fail', [
    'pods.rayguard.dev',
    'submitters.rayguard.dev'
  ])
}

function warnings(ca = pair.ca, failurePolicy = 'Ignore'): WebhookConfiguration {
  const kind = 'ValidatingWebhookConfiguration'
  return configuration(kind, ca, failurePolicy, ['resources.rayguard.dev'])
}

function configuration(
  kind: string,
  ca: string,
  failurePolicy: string,
  names: readonly string[]
): WebhookConfiguration {
  const entry = (name: string) => ({
    name,
    failurePolicy,
    clientConfig: { url: 'https://127.0.0.1:8443', caBundle: Buffer.from(ca).toString('base64') },
    namespaceSelector: {
      matchExpressions: [
        {
          key: 'kubernetes.io/metadata.name',
          operator: 'NotIn',
          values: ['rayguard-system', 'kube-system']
        },
        { key: 'rayguard.dev/paused', operator: 'DoesNotExist' }
      ]
    }
  })
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind,
    metadata: { name: 'rayguard', creationTimestamp: inDays(-10) },
    webhooks: names.map(entry)
  }
}

function replica(name: string, component: string, ready = 'True'): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'rayguard-system',
      labels: { 'app.kubernetes.io/name': 'rayguard', 'app.kubernetes.io/component': component }
    },
    spec: { containers: [{ name: 'rayguard' }] },
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: ready }] }
  }
}

function replicaStatus(component: string, changes: Partial<ReplicaStatus> = {}): ReplicaStatus {
  return {
    version: '0.1.0',
    components: [component],
    ready: true,
    checks: { serving: 'ok', [component]: 'ok' },
    now: new Date(now).toISOString(),
    servingCertificates: { [component]: pair.certificate },
    certificateExpiries: {
      [`${component}-serving`]: inDays(60),
      ...(component === 'enrollment' ? { authority: inDays(800) } : {})
    },
    ...changes
  }
}

interface RayPodChanges {
  namespace?: string
  tls?: boolean
  ended?: { exitCode: number; message: string }
  ageDays?: number
}

const words = (notAfter: string, anchorSha256 = 'aa') =>
  JSON.stringify({ serialNumber: '0b', notAfter, anchorSha256 })

function rayPod(pod: Pod, name: string, changes: RayPodChanges = {}): Pod {
  const { namespace = 'team-a', tls = true, ended, ageDays = 1 } = changes
  const enroll = { name: 'rayguard-enroll', image: 'rayguard' }
  return {
    ...pod,
    metadata: {
      ...pod.metadata,
      ...{ name, namespace, uid: `${name}-uid`, creationTimestamp: inDays(-ageDays) }
    },
    spec: {
      ...pod.spec,
      nodeName: 'node-1',
      initContainers: [...(tls ? [enroll] : []), ...(pod.spec.initContainers ?? [])]
    },
    status: {
      phase: 'Running',
      initContainerStatuses: [
        { name: 'rayguard-enroll', state: ended ? { terminated: ended } : { running: {} } }
      ]
    }
  }
}
const issued = (days: number) => ({ exitCode: 0, message: words(inDays(days)) })

t.test('a whole installation with a Ray cluster', async t => {
  const { standIn, status } = await stage(t)
  standIn.put(rayPod(headPod(), 'h', { ended: issued(80) }))
  standIn.put(rayPod(workerPod(), 'w', { ended: issued(70) }))
  const { code, text, checks, clusters, namespaces } = await status()
  t.equal(code, 0, text)
  t.strictSame(
    checks.filter(({ state }) => state !== 'ok').map(({ text }) => text),
    [],
    'nothing to say against it'
  )
  t.match(text, /✓ team-a\/demo: 2 of 2 pods with a certificate; the first ends/)
  t.match(
    text,
    /The caBundle vouches for the certificate of rayguard-webhook-1, rayguard-webhook-2/
  )
  t.match(text, /All is well\.\n$/)
  t.match(clusters, [{ namespace: 'team-a', name: 'demo', pods: [{ state: 'certificate' }, {}] }])
  t.strictSame(
    namespaces.filter(({ covered }) => covered).map(({ name }) => name),
    ['team-a', 'team-b'],
    'covered as the registration says'
  )
})

t.test('what is wrong with the installation', async t => {
  const { standIn, says, faults, status } = await stage(t)
  standIn.put(registration(other.ca))
  t.match(await status(), { code: 1 }, 'another CA in the caBundle')
  t.strictSame((await status()).states('CaBundle'), ['failed'])
  standIn.put({ ...registration(), webhooks: registration().webhooks?.slice(0, 1) ?? [] })
  t.strictSame((await status()).states('Registration'), ['failed'], 'half a registration')
  standIn.remove(registration())
  t.strictSame((await status()).states('Registration'), ['failed'], 'none')
  standIn.put(registration())

  standIn.put(warnings(other.ca))
  t.match(await status(), { code: 1, text: /✗ resources\.rayguard\.dev does not trust/ })
  standIn.put(warnings(pair.ca, 'Fail'))
  t.match(await status(), { code: 0, text: /! failurePolicy of resources.* is not Ignore/ })
  standIn.remove(warnings())
  t.match(await status(), { code: 0, text: /! There is no ValidatingWebhookConfiguration/ })
  standIn.put(warnings())

  const policy = (name: string) => ({
    ...{ apiVersion: 'admissionregistration.k8s.io/v1', kind: 'ValidatingAdmissionPolicy' },
    metadata: { name, labels: { 'app.kubernetes.io/name': 'rayguard' } }
  })
  for (const [name, advice] of [
    ['rayguard-pods', 'rayguard register'],
    ['rayguard-replacement', 'own accounts']
  ] as const) {
    standIn.put(policy(name))
    const { text } = await status()
    t.match(
      text,
      new RegExp(`! Not bound: ${name}\\.[^!✓✗]*${advice}`),
      'a policy without a binding'
    )
  }
  for (const name of ['rayguard-pods', 'rayguard-replacement']) standIn.remove(policy(name))

  const broken = { checks: { namespaces: 'the labels are not known' }, ready: false }
  says.set('rayguard-webhook-1', replicaStatus('webhook', broken))
  const notReady = await status()
  t.same(new Set(notReady.states('Replica')), new Set(['failed', 'ok']), 'a check of a replica')
  t.match(notReady.text, /✗ rayguard-webhook-1: namespaces: the labels are not known/)
  const away = { checks: { enrollment: 'ok', authority: 'Vault is sealed' }, ready: true }
  says.set('rayguard-webhook-1', replicaStatus('webhook'))
  says.set('rayguard-enrollment-1', replicaStatus('enrollment', away))
  t.match(
    await status(),
    {
      code: 1,
      text: /✓ 2 replicas of rayguard-enrollment ready[\s\S]*✗ rayguard-enrollment-1: authority: Vault is sealed\.\n.*AuthorityUnavailable.*docs\/authorities\/.*logs rayguard-enrollment-1/
    },
    'what is wrong with a replica that is ready'
  )
  says.set('rayguard-enrollment-1', replicaStatus('enrollment'))
  says.set('rayguard-webhook-1', undefined)
  t.match(await status(), { code: 0, text: /! rayguard-webhook-1 is ready, but did not answer/ })
  standIn.put(replica('rayguard-webhook-1', 'webhook', 'False'))
  t.equal((await status()).code, 1, 'a replica that is not ready')
  standIn.remove(replica('rayguard-webhook-1', 'webhook'))
  says.set('rayguard-webhook-2', replicaStatus('webhook', { version: '0.2.0' }))
  const one = await status()
  t.strictSame(one.states('Versions'), ['warning'], 'two versions')
  t.same(new Set(one.states('Replicas')), new Set(['warning', 'ok']), 'one replica')

  const ends = (days: number) =>
    says.set(
      'rayguard-enrollment-2',
      replicaStatus('enrollment', { certificateExpiries: { authority: inDays(days) } })
    )
  for (const [days, state] of [
    [50, 'warning'],
    [10, 'failed'],
    [-1, 'failed']
  ] as const) {
    ends(days)
    t.ok((await status()).states('CertificateEnd').includes(state), `the CA ends in ${days} days`)
  }
  ends(800)

  standIn.deny('watch /pods')
  const rights = await status()
  t.match(rights.text, /✗ rayguard-webhook lacks: watch pods\./)
  standIn.deny('approve certificates.k8s.io/signers')
  t.notMatch((await status()).text, /signers/, 'what the authority of the settings does not need')
  const authority = 'kind: kubernetes-csr, certificateFile: /a, signerName: a.test/b, approve: true'
  standIn.put({
    ...{ apiVersion: 'v1', kind: 'ConfigMap' },
    metadata: { name: 'rayguard', namespace: 'rayguard-system' },
    data: { 'config.yaml': `authority: { ${authority} }` }
  })
  t.match(
    (await status()).text,
    /✗ rayguard-enrollment lacks: .*approve signers\.certificates\.k8s\.io a\.test\/b\./,
    'and what it does'
  )
  for (const pattern of [/configmaps\/rayguard$/, /\/deployments$/]) {
    faults.set(pattern, { status: 403 })
    const unread = await status()
    t.match(unread.text, /! Which rights are needed is not known whole: .* \(Forbidden\)/)
    t.notMatch(unread.text, /✓ .* has the rights/, 'and none is said to have all')
    t.match(unread.text, /✗ rayguard-webhook lacks: watch pods/, 'what is missing is still told')
    faults.delete(pattern)
  }
  faults.set(/subjectaccessreviews/, { status: 403 })
  t.strictSame((await status()).states('Rights'), ['warning'], 'who may not ask is told so')
  for (const [pattern, id] of [
    [/mutatingwebhookconfigurations/, 'Registration'],
    [/validatingwebhookconfigurations/, 'Warnings'],
    [/rayguard-system\/pods$/, 'Replicas'],
    [/v1\/namespaces$/, 'Namespaces'],
    [/v1\/pods$/, 'RayPods'],
    [/validatingadmissionpolicies/, 'Policies']
  ] as const) {
    faults.set(pattern, { status: 403 })
    t.ok((await status()).states(id).includes('warning'), `${id} cannot be read`)
    faults.delete(pattern)
  }
  faults.set(/^\/version$/, {
    status: 200,
    body: { major: '1', minor: '29', gitVersion: 'v1.29.0' }
  })
  t.strictSame((await status()).states('ApiVersion'), ['failed'], 'an old API server')
  faults.clear()
  const date = new Date(now + 3_600_000).toUTCString()
  faults.set(/.*/, { status: 403, headers: { date } })
  t.strictSame((await status()).states('Clock'), ['failed'], 'an hour off')
})

t.test('a component that need not be installed', async t => {
  const { standIn, says, faults, status } = await stage(t)
  const advice = /kubectl -n rayguard-system describe deployment rayguard-replacement/
  const deployment = {
    ...{ apiVersion: 'apps/v1', kind: 'Deployment' },
    metadata: {
      ...{ name: 'rayguard-replacement', namespace: 'rayguard-system' },
      labels: {
        'app.kubernetes.io/name': 'rayguard',
        'app.kubernetes.io/component': 'replacement'
      }
    }
  }
  standIn.deny('update coordination.k8s.io/leases')
  t.notMatch((await status()).text, /replacement/, 'it is not missed where it is not installed')

  standIn.put(deployment)
  const none = await status()
  t.equal(none.code, 1)
  t.match(none.text, /✗ No replica of rayguard-replacement runs: no pod is replaced before/)
  t.match(none.text, advice)
  t.match(none.text, /✗ rayguard-replacement lacks: update leases/, 'nor its rights')

  const name = 'rayguard-replacement-1'
  standIn.put(replica(name, 'replacement', 'False'))
  says.set(name, replicaStatus('replacement', { checks: { clusters: 'not known' }, ready: false }))
  t.match(await status(), { code: 1, text: /✗ No replica of rayguard-replacement is ready/ })
  standIn.put(replica(name, 'replacement'))
  says.set(name, replicaStatus('replacement'))
  t.match((await status()).text, /✓ 1 replica of rayguard-replacement ready\./, 'one is enough')

  faults.set(/\/deployments$/, { status: 403 })
  const unread = await status()
  t.match(unread.text, /✓ 1 replica of rayguard-replacement ready\./, 'its pods tell of it as well')
  t.match(
    unread.text,
    /✗ rayguard-replacement lacks: update leases/,
    'and of the rights to ask for'
  )
})

t.test('whether people can get client certificates, and what keeps them from it', async t => {
  const { standIn, says, faults, status } = await stage(t)
  const replicas = ['rayguard-enrollment-1', 'rayguard-enrollment-2']
  const say = (...each: NonNullable<ReplicaStatus['clientCertificates']>[]) => {
    for (const [at, clientCertificates] of each.entries())
      says.set(replicas[at] ?? '', replicaStatus('enrollment', { clientCertificates }))
  }
  const setting = (enabled: boolean) =>
    standIn.put({
      ...{ apiVersion: 'v1', kind: 'ConfigMap' },
      metadata: { name: 'rayguard', namespace: 'rayguard-system' },
      data: { 'config.yaml': `clientCertificates: { enabled: ${enabled} }` }
    })
  const found = async () => {
    const told = await status()
    return { code: told.code, states: told.states('ClientCertificates'), text: told.text }
  }
  const [off, on] = [{ enabled: false }, { enabled: true }]

  t.match(await found(), { code: 0, states: [] }, 'replicas of before there were any say nothing')
  say(on, on)
  t.match(await found(), { code: 0, text: /✓ .* are on, and rayguard-enrollment has the rights/ })
  standIn.deny('sign certificates.k8s.io/signers')
  say(off, off)
  t.match(await found(), { code: 0, states: ['ok'], text: /✓ Client certificates are off/ })
  t.notMatch((await found()).text, /lacks/, 'and need no rights')

  say(on, on)
  const lacking = await found()
  t.match(lacking, { code: 1, states: ['failed'] })
  t.match(lacking.text, /lacks: sign signers\.certificates\.k8s\.io rayguard\.dev\/ray-client\./)
  t.match(lacking.text, /✓ rayguard-enrollment has the rights that it needs/, 'for pods, it has')
  faults.set(/subjectaccessreviews/, { status: 403 })
  t.match(await found(), { states: ['ok'], text: /✓ Client certificates are on\./ }, 'not asked')
  faults.clear()

  say(on, { ...on, problem: 'the requests are not seen (yet)' })
  t.match(await found(), { code: 1, text: /✗ rayguard-enrollment-2: client cert.*not seen/ })
  setting(true)
  say(on, off)
  t.match(await found(), { text: /! Client .* on, but rayguard-enrollment-2 still runs without/ })
  setting(false)
  t.match(await found(), { text: /! Client .* off, but rayguard-enrollment-1 still runs with/ })
  say(off, off)
  setting(true)
  standIn.deny('update certificates.k8s.io/certificatesigningrequests')
  const wanted = await found()
  t.match(wanted, { code: 1, text: /! .* still runs without/ }, 'the settings alone')
  t.match(wanted.text, /✗ .*lacks: update certificatesigningrequests\/approval/, 'ask for rights')
  for (const name of replicas) says.set(name, undefined)
  t.match(await found(), { code: 1, states: ['failed'] }, 'also where no replica answers')
})

t.test('what each Ray pod has, and why not', async t => {
  const { standIn, status } = await stage(t)
  standIn.put(rayPod(headPod(), 'h', { tls: false, ageDays: 20 }))
  standIn.put(rayPod(workerPod(), 'w', { tls: false }))
  const plain = await status()
  t.equal(plain.code, 0, 'a cluster that is left alone is not a failure')
  t.strictSame(plain.states('ClusterWithoutTls'), ['warning'])
  t.match(
    plain.text,
    /delete pods -l ray.io\/cluster=demo\. Do so before the namespace requires TLS/
  )
  t.same(
    new Set(plain.clusters[0]?.pods.map(({ reason }) => reason)),
    new Set(['OlderThanRayguard', 'LiveClusterLeftAlone'])
  )
  put(standIn, 'team-a', { 'rayguard.dev/tls': 'required' })
  const required = await status()
  t.match(required, { code: 1, text: /requires TLS, so its new pods are refused/ })
  put(standIn, 'team-a', { 'rayguard.dev/tls': 'disabled' })
  t.match(
    await status(),
    { code: 0, text: /✓ team-a\/demo: 2 pods without TLS/ },
    'as it is wanted'
  )
  put(standIn, 'team-a', { 'rayguard.dev/tls': 'requird' })
  t.strictSame((await status()).states('NamespaceLabel'), ['failed'], 'a misspelt label')
  put(standIn, 'team-a', { 'rayguard.dev/certificate-lifetime': '3od' })
  t.strictSame((await status()).states('NamespaceLifetime'), ['failed'], 'a misspelt lifetime')
  put(standIn, 'team-a', { 'rayguard.dev/certificate-lifetime': '30d' })
  t.strictSame((await status()).states('NamespaceLifetime'), [])
  put(standIn, 'team-a', { 'rayguard.dev/paused': '2026' })
  t.strictSame((await status()).states('NamespacePaused'), ['warning'], 'paused')
  put(standIn, 'team-a')

  standIn.put(rayPod(workerPod(), 'w', { ended: issued(80) }))
  t.match(await status(), { code: 1, text: /team-a\/demo is split: 1 pods with TLS, 1 without/ })
  standIn.put(rayPod(headPod(), 'h', { ended: { exitCode: 0, message: words(inDays(80), 'bb') } }))
  t.strictSame((await status()).states('ClusterAnchors'), ['failed'], 'two trust anchors')
  standIn.put(rayPod(headPod(), 'h', { ended: issued(5), ageDays: 85 }))
  t.strictSame((await status()).states('PodCertificateEnd'), ['warning'], 'near its end')
  standIn.put(rayPod(headPod(), 'h', { ended: issued(0.1), ageDays: 1 }))
  t.match((await status()).text, /its certificate ends in 2 hours/, 'of a short life')
  standIn.put(rayPod(headPod(), 'h', { ended: issued(5), ageDays: 1 }))
  t.strictSame((await status()).states('PodCertificateEnd'), [], 'which is not near all its life')
  standIn.put(rayPod(headPod(), 'h', { ended: issued(-1), ageDays: 91 }))
  t.strictSame((await status()).states('PodCertificateEnd'), ['failed'], 'ended')
  const message = '{"code":"SourceAddress","message":"\\u001b[2J"}'
  standIn.put(rayPod(headPod(), 'h', { ended: { exitCode: 1, message } }))
  const refused = await status()
  t.match(refused, { code: 1, text: /h got no certificate: SourceAddress/ })
  t.notMatch(refused.text, '\u001b', 'attack: nothing of a status reaches the terminal as it is')
  standIn.put(rayPod(headPod(), 'h'))
  t.match(await status(), { code: 0, text: /h has no certificate yet: Enrolling/ })
  t.match(
    await status('-n', 'team-b'),
    { code: 0, text: /There are no Ray clusters/ },
    'by namespace'
  )
})

t.test('the rotation of the CA, step by step', async t => {
  const { standIn, says, faults, kubeconfig, status } = await stage(t)
  const [old, next, renewed] = ['0a'.repeat(32), '0b'.repeat(32), '0c'.repeat(32)]
  const keys: Record<string, string> = { [old]: 'aa', [next]: 'bb', [renewed]: 'aa' }
  const anchor: Record<string, [subject: string, begun: number]> = {
    ...{ [old]: ['CN=old', -3000], [next]: ['CN=next', -1], [renewed]: ['CN=old', -1] }
  }
  const described = (sha: string) => ({
    subject: anchor[sha]?.[0] ?? '',
    ...{ anchorSha256: sha, anchorKeySha256: keys[sha] ?? '' },
    notBefore: inDays(anchor[sha]?.[1] ?? 0),
    notAfter: inDays(500)
  })
  const signs = (sha: string, alsoTrusted: string[], replicas = ['1', '2']) => {
    const authority = { kind: 'pem', ...described(sha), alsoTrusted: alsoTrusted.map(described) }
    for (const at of replicas)
      says.set(`rayguard-enrollment-${at}`, replicaStatus('enrollment', { authority }))
  }
  const holds = (name: string, anchorSha256: string, trustedSha256?: string[]) => {
    const trustedKeySha256 = trustedSha256?.map(sha => keys[sha])
    const anchorKeySha256 = trustedSha256 && keys[anchorSha256]
    const anchors = { anchorSha256, anchorKeySha256, trustedSha256, trustedKeySha256 }
    const said = { serialNumber: '0b', notAfter: inDays(80), ...anchors }
    const ended = { exitCode: 0, message: JSON.stringify(said) }
    standIn.put(rayPod(name === 'head' ? headPod() : workerPod(), name, { ended }))
  }
  const caStatus = async (...argumentsList: string[]) => {
    const asked = ['status', '--kubeconfig', kubeconfig, ...argumentsList]
    const { code, out } = await runCommand(ca, asked)
    const told = JSON.parse((await runCommand(ca, [...asked, '-o', 'json'])).out)
    const states = Object.fromEntries(told.checks.map(({ id, state }: Check) => [id, state]))
    return { ...told, code, text: out, states }
  }

  signs(old, [])
  holds('head', old, [old])
  holds('worker', old)
  const well = await caStatus()
  t.match(well, { code: 0, next: { step: 'none', ready: true } }, 'no rotation')
  t.notHas(well.states, { AuthorityProblem: String }, 'and nothing is wrong with the CA')
  const told = says.get('rayguard-enrollment-2')
  const checks = { authority: 'Vault is sealed' }
  says.set('rayguard-enrollment-2', replicaStatus('enrollment', { ...told, checks }))
  const sealed = await caStatus()
  t.match(sealed, { code: 0, states: { AuthorityProblem: 'warning' } }, 'a CA that is away')
  t.match(sealed.text, /! rayguard-enrollment-2 gets nothing signed: Vault is sealed\./)
  signs(old, [])

  signs(renewed, [])
  const unnamed = await caStatus()
  t.match(unnamed, { code: 1, states: { UnknownAuthority: 'failed' } }, 'no key is said')
  holds('worker', old, [old])
  const same = await caStatus()
  t.match(same, { code: 0, next: { step: 'none' } }, 'renewed with its key it is the same CA')
  t.match(same.authorities, [{ role: 'signing', signed: 2, trusted: 2 }])
  holds('worker', renewed, [renewed])
  t.match(await caStatus(), { code: 0, clusters: [{ strangers: [] }] }, 'to pods of both')
  t.strictSame((await status()).states('ClusterAnchors'), [], 'and status sees nothing amiss')
  signs(renewed, [old])
  const beside = await caStatus()
  t.match(
    beside.authorities,
    [
      { signed: 1, trusted: 2 },
      { signed: 1, trusted: 2 }
    ],
    'told apart'
  )
  t.match(beside.text, /1 of 2 pods hold a certificate of CN=old/, 'where both are named')
  holds('head', renewed, [renewed])
  holds('worker', old)
  const earlier = { clusters: [{ strangers: [] }], authorities: [{ trusted: 2 }, { trusted: 2 }] }
  t.match(await caStatus(), earlier, 'an agent from before does not say the key that is known')
  t.strictSame((await status()).states('ClusterAnchors'), [], 'nor does it matter to status')
  holds('head', old, [old])
  holds('worker', old)

  signs(old, [next])
  const distributing = await caStatus()
  t.match(distributing, { code: 0, next: { step: 'switch', ready: false } }, 'step 1')
  t.match(
    distributing.text,
    /! team-a\/demo: 2 of 2 pods do not trust CN=next \(0b0b0b0b0b0b\) yet/
  )
  t.match(distributing.text, /→ kubectl -n team-a delete pod head worker\n/)
  t.match(distributing.authorities, [
    { role: 'signing', signed: 2, trusted: 2 },
    { role: 'next', signed: 0, trusted: 0 }
  ])
  holds('head', old, [old, next])
  t.match(await caStatus(), { next: { ready: false } }, 'a worker is left')
  holds('worker', old, [old, next])
  t.match(await caStatus(), { code: 0, next: { step: 'switch', ready: true } }, 'all trust it')
  standIn.put(rayPod(workerPod(), 'enrolling'))
  const waiting = await caStatus()
  t.match(waiting, { next: { ready: false }, states: { PodsWaiting: 'warning' } })
  standIn.remove(rayPod(workerPod(), 'enrolling'))
  signs(old, [], ['2'])
  const differing = await caStatus()
  t.match(differing, { next: { ready: false }, states: { ReplicasDiffer: 'warning' } })

  signs(next, [old])
  const switched = await caStatus()
  t.match(switched, { code: 0, next: { step: 'finish', ready: false } }, 'step 2')
  t.match(switched.text, /2 of 2 pods hold a certificate of CN=old/)
  holds('head', next, [next, old])
  t.match(await caStatus(), { code: 0, next: { ready: false }, states: { Step: 'warning' } })
  t.equal((await status()).states('ClusterAnchors').length, 0, 'two CAs, and all trust both')
  signs(next, [])
  t.match(
    await caStatus(),
    { code: 1, states: { UnknownAuthority: 'failed' } },
    'step 3 too early: a new pod would not reach the worker'
  )
  signs(next, [old])
  holds('worker', next, [next, old])
  t.match(await caStatus(), { code: 0, next: { step: 'finish', ready: true } }, 'all are replaced')
  signs(next, [])
  t.match(await caStatus(), { code: 0, next: { step: 'none', ready: true } }, 'step 3')

  // the next one is a CA that is older than the one that signs
  holds('head', next, [next])
  holds('worker', next, [next])
  signs(next, [old])
  const older = { step: 'switch', ready: false }
  t.match(await caStatus(), { next: older, states: { NotTrusting: 'warning' } }, 'no pod trusts it')
  holds('head', next, [next, old])
  t.match(await caStatus(), { next: older }, 'nor does each')
  holds('worker', next, [next, old])
  const either = await caStatus()
  t.match(either, { code: 0, next: { ready: true } }, 'all do')
  t.match(either.text, /drop it \(step 3 of .*, or let it sign if it is the next one \(step 2\)/)
  signs(old, [next])
  const later = { step: 'finish', ready: false }
  t.match(await caStatus(), { next: later, states: { HoldsFormer: 'warning' } }, 'it signs')
  holds('head', old, [old, next])
  t.match(await caStatus(), { next: later }, 'a worker is left')
  holds('worker', old, [old, next])
  t.match(await caStatus(), { code: 0, next: { ready: true } }, 'none holds the former one')
  signs(next, [])
  holds('head', next, [next, old])

  holds('worker', old, [old])
  const cut = await caStatus()
  t.match(cut, { code: 1, states: { ClusterTrust: 'failed' } }, 'a step was left out')
  t.match(cut.text, /1 of 2 pods are not trusted by the others: head\./)
  t.match(await status(), { code: 1 }, 'and status says so')
  const ofOne = await caStatus('-n', 'team-b')
  t.match(ofOne, { code: 0, clusters: [] }, 'by namespace')
  t.equal(ofOne.next, undefined, 'of which nothing follows for the others')
  t.notMatch(ofOne.text, /Next step/)

  const unknown = { subject: '', anchorSha256: '', anchorKeySha256: '', notAfter: inDays(-20_000) }
  const away = { kind: 'vault', ...unknown, alsoTrusted: [] }
  holds('worker', next, [next])
  signs(next, [])
  says.set('rayguard-enrollment-1', replicaStatus('enrollment', { authority: away }))
  const half = await caStatus()
  t.match(half, { code: 0, next: { ready: false } }, 'the other one knows its CA')
  t.match(half.authorities, [{ subject: 'CN=next', signed: 2 }])
  says.set('rayguard-enrollment-2', replicaStatus('enrollment', { authority: away }))
  const absent = await caStatus()
  t.match(absent, { code: 1, clusters: [], states: { AuthorityUnknown: 'failed' } }, 'none does')
  t.match(absent.text, /Leave all pods as they are/, 'and no pod is to be deleted')
  t.strictSame((await status()).states('ClusterAnchors'), [], 'nor does status say so')

  for (const at of ['1', '2']) says.set(`rayguard-enrollment-${at}`, undefined)
  t.match(await caStatus(), { code: 1, states: { AuthorityUnknown: 'failed' } })
  faults.set(/v1\/pods$/, { status: 403 })
  t.match(
    await runCommand(ca, ['status', '--kubeconfig', kubeconfig]),
    { code: 1, err: /you lack a right/ },
    'without the right'
  )
  await t.rejects(runCommand(ca, ['status', '-o', 'yaml']), { code: 'Usage' })
})

t.test(
  'a CA for each RayCluster: renewals are one CA, and a change of the setting waits',
  async t => {
    const { standIn, says, kubeconfig, status } = await stage(t)
    const [shared, own, renewed] = ['0a'.repeat(32), '0b'.repeat(32), '0c'.repeat(32)]
    const described = { subject: 'CN=shared', anchorSha256: shared, notAfter: inDays(500) }
    const set = (
      setting: 'perCluster' | 'shared',
      waiting: number,
      alsoTrusted: (typeof described)[] = []
    ) => {
      const authority = { kind: 'pem', ...described, alsoTrusted, trust: { setting, waiting } }
      for (const at of ['1', '2'])
        says.set(`rayguard-enrollment-${at}`, replicaStatus('enrollment', { authority }))
    }
    const holds = (name: string, anchorSha256: string, anchorKeySha256?: string) => {
      const keys = anchorKeySha256 && { anchorKeySha256, trustedKeySha256: [anchorKeySha256] }
      const said = { serialNumber: '0b', notAfter: inDays(80), anchorSha256, ...keys }
      const ended = { exitCode: 0, message: JSON.stringify(said) }
      standIn.put(rayPod(name === 'head' ? headPod() : workerPod(), name, { ended }))
    }
    const caStatus = async () => {
      const asked = ['status', '--kubeconfig', kubeconfig]
      const { code, out } = await runCommand(ca, asked)
      const told = JSON.parse((await runCommand(ca, [...asked, '-o', 'json'])).out)
      return { ...told, code, text: out, ids: told.checks.map(({ id }: Check) => id) }
    }
    set('perCluster', 0)
    holds('head', own)
    holds('worker', renewed)
    const renewal = await caStatus()
    t.match(
      renewal,
      { code: 0, clusters: [{ trust: 'perCluster', strangers: [] }] },
      'before and after'
    )
    t.match(renewal.text, /team-a\/demo: 2 pods under a CA of its own, nothing to do/)
    t.match(renewal, { next: { step: 'none', ready: true } }, 'and no part in a rotation')
    t.strictSame((await status()).states('ClusterAnchors'), [], 'status sees nothing amiss either')
    holds('head', own, 'aa')
    t.match(await caStatus(), { code: 0 }, 'where an agent does not say the key nobody can tell')
    holds('worker', renewed, 'aa')
    t.match(await caStatus(), { code: 0, clusters: [{ strangers: [] }] }, 'the same key')
    holds('worker', renewed, 'bb')
    const two = { code: 1, clusters: [{ strangers: ['head', 'worker'] }] }
    t.match(await caStatus(), two, 'two CAs of its own: a Secret was lost')
    t.strictSame((await status()).states('ClusterAnchors'), ['failed'], 'and status says so')
    holds('head', own)
    holds('worker', shared)
    t.match(await caStatus(), { code: 1, clusters: [{ strangers: ['head'] }] }, 'split')
    t.strictSame((await status()).states('ClusterAnchors'), ['failed'], 'and status says so')

    const former = '0d'.repeat(32)
    set('perCluster', 0, [{ ...described, anchorSha256: former }])
    holds('worker', former)
    t.match(
      await caStatus(),
      { next: { step: 'finish', ready: false } },
      'of one RayCluster a pod under its own CA does not hide another that holds the former CA'
    )
    holds('worker', shared)

    set('perCluster', 1)
    holds('head', shared)
    const waits = await caStatus()
    t.match(waits, { code: 0, clusters: [{ trust: 'shared' }] }, 'from before the change')
    t.ok(
      waits.ids.includes('TrustWaiting') && waits.ids.includes('ClusterTrustWaiting'),
      'it waits'
    )
    t.match(waits.text, /delete pods -l ray.io\/cluster=demo/, 'and what to do is said')
    set('shared', 1)
    holds('head', own)
    holds('worker', own)
    t.match(await caStatus(), { code: 0, clusters: [{ trust: 'perCluster' }] }, 'and the other way')
    set('shared', 0)
    t.match(await caStatus(), { code: 1 }, 'a CA that nobody knows of is told as before')
  }
)

t.test('CAs of RayClusters that wait are told by the worst of all replicas', async t => {
  const { says, kubeconfig } = await stage(t)
  const anchor = { subject: 'CN=shared', anchorSha256: '0a'.repeat(32), notAfter: inDays(500) }
  const nothing = { unsealed: 0, formerSeal: 0, renewal: 0 }
  const told = async (...due: (typeof nothing | undefined)[]) => {
    for (const [at, each] of due.entries()) {
      const trust = { setting: 'perCluster' as const, waiting: 0, ...(each && { due: each }) }
      const authority = { kind: 'pkcs11', ...anchor, alsoTrusted: [], trust }
      says.set(`rayguard-enrollment-${at + 1}`, replicaStatus('enrollment', { authority }))
    }
    const asked = ['status', '--kubeconfig', kubeconfig, '-o', 'json']
    const { checks, clusterCas } = JSON.parse((await runCommand(ca, asked)).out)
    const ids = checks.map(({ id }: Check) => id)
    return { clusterCas, ids: ids.filter((id: string) => id.startsWith('ClusterCas')) }
  }
  t.strictSame(await told(nothing, nothing), { clusterCas: nothing, ids: ['ClusterCas'] }, 'well')
  t.strictSame(
    await told(
      { ...nothing, formerSeal: 2, renewal: 1 },
      { unsealed: 3, formerSeal: 1, renewal: 0 }
    ),
    {
      clusterCas: { unsealed: 3, formerSeal: 2, renewal: 1 },
      ids: ['ClusterCasUnsealed', 'ClusterCasFormerSeal', 'ClusterCasNotRenewed']
    },
    'each replica may know of another'
  )
  const unknown = { clusterCas: undefined, ids: ['ClusterCasUnknown'] }
  t.strictSame(await told(undefined, nothing), unknown, 'one has not looked yet')
  t.strictSame(await told(nothing, undefined), unknown, 'whichever')
})

t.test('pause and resume', async t => {
  const { standIn, kubeconfig, faults } = await stage(t)
  const run = async (name: 'pause' | 'resume', ...argumentsList: string[]) => {
    const command = name === 'pause' ? pauseCommand(() => now) : resume
    return runCommand(command, ['--kubeconfig', kubeconfig, ...argumentsList])
  }
  const label = (name: string) =>
    standIn.store.get({ kind: 'Namespace', apiVersion: 'v1', namespace: '', name })?.metadata
      .labels?.['rayguard.dev/paused']
  t.match(await run('pause', 'team-a'), { code: 0, out: /team-a paused\n.*rayguard resume/ })
  t.match(label('team-a'), /^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ$/, 'a time that a label can hold')
  t.match(await run('pause', 'team-a'), { code: 0, out: /paused already/ })
  t.match(await run('pause', 'none', 'team-b'), { code: 1, err: /There is no namespace "none"/ })
  t.ok(label('team-b'), 'the others are paused all the same')
  t.match(await run('resume', '--all'), { code: 0, out: /team-a resumed\nteam-b resumed/ })
  t.equal(label('team-a'), undefined)
  t.match(await run('resume', 'team-a'), { code: 0, out: /is not paused/ })
  t.match(await run('pause', '--all'), { code: 0 })
  t.ok(label('team-a') && label('team-b'), 'what the registration covers')
  t.notOk(label('kube-system') ?? label('rayguard-system'), 'and nothing else')
  await run('resume', '--all')
  faults.set(/namespaces\/team-a$/, { status: 403 })
  await t.rejects(run('pause', 'team-a'), { code: 'Forbidden' }, 'without the right')
  t.match(await run('pause', '--all'), { code: 1, out: /team-b paused/, err: /team-a: .*403/ })
  faults.clear()
  standIn.remove(registration())
  t.match(await run('pause', '--all'), { code: 1, err: /no MutatingWebhookConfiguration/ })
  t.match(await run('resume', '--all'), { code: 0, out: /team-b resumed/ }, 'that needs none')
  await t.rejects(run('pause'), { code: 'Usage' })
  await t.rejects(run('pause', '--all', 'team-a'), { code: 'Usage' })
})
