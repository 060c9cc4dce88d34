/** The authorities that are asked by objects in the Kubernetes API, with a signer that may do anything wrong. */
import { randomBytes } from 'node:crypto'
import { renameSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { CertManagerSettings } from '../../src/authority/cert-manager/issuer-authority.ts'
import { createProbe } from '../../src/authority/cert-manager/probe.ts'
import type { KubernetesCsrSettings } from '../../src/authority/kubernetes-csr/csr-authority.ts'
import { type AuthoritySettings, neededRights, openAuthority } from '../../src/authority/open.ts'
import type { AuthorityOptions, ClusterAccess } from '../../src/authority/options.ts'
import { openPatiently } from '../../src/authority/patient.ts'
import { createCalls } from '../../src/kubernetes/calls.ts'
import type { Client } from '../../src/kubernetes/client.ts'
import type {
  CertificateSigningRequest,
  KubernetesObject,
  ObjectMeta,
  Pod
} from '../../src/kubernetes/objects.ts'
import { missingRights } from '../../src/kubernetes/rights.ts'
import { checkIntermediate } from '../../src/x509/check-intermediate.ts'
import type { CertificateNames } from '../../src/x509/names.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { lifetimesOf, type Stage, startStage } from '../support/enrollment-stage.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import { intermediateRequest } from '../support/intermediate-request.ts'
import {
  approve,
  type PlayedKind,
  type PlayedSigner,
  playSigner
} from '../support/played-signer.ts'
import { rayCluster, rayPod, serviceOf } from '../support/ray-objects.ts'
import type { Bend } from '../support/signer.ts'
import { caExtensions, makeCa, openWorkshop } from '../x509/openssl.ts'

const own = 'rayguard-system'
const lifetimeSeconds = 2 * 86_400
const workshop = openWorkshop(t)
for (const name of ['ca', 'stranger']) makeCa(workshop, name)
const certificateFile = workshop.path('ca.crt')
const issuer = { name: 'ray-pods', kind: 'Issuer', group: 'cert-manager.io' }

const csrSettings: KubernetesCsrSettings = {
  kind: 'kubernetes-csr',
  certificateFile,
  signerName: 'example.com/ray-pods',
  approve: true
}
const issuerSettings: CertManagerSettings = {
  kind: 'cert-manager',
  issuer,
  issuerOpenToAllNamespaces: false,
  certificateFile
}
const both: { settings: AuthoritySettings; of: PlayedKind }[] = [
  { settings: csrSettings, of: 'CertificateSigningRequest' },
  { settings: issuerSettings, of: 'CertificateRequest' }
]

interface Played {
  stage: Stage
  signer: PlayedSigner
  pod: Pod
  /** As the agent does: without names, then with those that the server has told, with one key. */
  enroll(key?: ReturnType<typeof newKey>): ReturnType<Stage['enroll']>
  /** What the log has of the last answer. */
  reason(): string
}

interface Wishes {
  settings: AuthoritySettings
  of: PlayedKind
  cluster?: Partial<ClusterAccess>
  options?: Partial<AuthorityOptions>
  /** Certificates of the pod within an hour. */
  perPod?: number
}

async function play(t: Test, { settings, of, perPod = 100, ...wishes }: Wishes): Promise<Played> {
  let signer: PlayedSigner | undefined
  let close = async () => {}
  const stage = await startStage({
    lifetimes: lifetimesOf(lifetimeSeconds),
    quota: { perPod, perNamespace: 1000 },
    async realAuthority(client) {
      const authority = await openAuthority(settings, optionsOver(client, wishes))
      close = authority.close
      return authority
    },
    prepare(standIn) {
      signer = playSigner(standIn, workshop, of, lifetimeSeconds)
      standIn.interfere(discovery)
    }
  })
  t.teardown(async () => {
    await close()
    await stage.close()
  })
  const cluster = rayCluster('demo', { head: { podName: 'head-1', serviceName: 'demo-head-svc' } })
  stage.standIn.put(cluster)
  stage.standIn.put(serviceOf(cluster, 'demo-head-svc'))
  const pod = await stage.run(rayPod({ name: 'head-1', cluster, node: 'head', ips: ['127.0.0.2'] }))
  if (signer === undefined) throw new Error('there is no signer')
  return {
    ...{ stage, signer, pod },
    async enroll(key = newKey()) {
      const told = await stage.enroll(pod, { csr: createCertificateRequest(key) })
      t.match(told, { status: 409, body: { code: 'NamesRequired' } }, 'the names are told')
      const { dnsNames, ipAddresses } = told.body as unknown as CertificateNames
      const csr = createCertificateRequest(key, { dnsNames, ipAddresses })
      return stage.enroll(pod, { csr })
    },
    reason() {
      const outcome = stage.observed.at(-1)?.outcome
      return outcome?.allowed === false ? (outcome.reason ?? '') : 'it was allowed'
    }
  }
}

function optionsOver(client: Client, { cluster, options }: Partial<Wishes>): AuthorityOptions {
  return {
    ...{ clock: Date.now, random: (size: number) => randomBytes(size), pollMs: 0 },
    clusterDomain: 'cluster.local',
    ...options,
    cluster: {
      ...{ client, namespace: own, fraction: Math.random },
      steadyClock: () => performance.now(),
      ...cluster
    }
  }
}

/** What an API server says of the kinds that it knows. */
function discovery({ path }: { path: string }): { status: number; body: string } | undefined {
  const kinds = [
    { kind: 'Issuer', namespaced: true },
    { kind: 'ClusterIssuer', namespaced: false }
  ]
  const groups: Record<string, object> = {
    '/apis/cert-manager.io': { preferredVersion: { groupVersion: 'cert-manager.io/v1' } },
    '/apis/cert-manager.io/v1': { resources: kinds },
    '/apis/ca.example.com': { preferredVersion: { groupVersion: 'ca.example.com/v1beta1' } },
    '/apis/ca.example.com/v1beta1': { resources: [{ kind: 'Company', namespaced: false }] }
  }
  const found = groups[path]
  return found && { status: 200, body: JSON.stringify(found) }
}

for (const { settings, of } of both) {
  t.test(`${settings.kind}: a pod gets what a good signer signs`, async t => {
    const { signer, enroll } = await play(t, { settings, of })
    const { status, body } = await enroll()
    t.equal(status, 201, `${body.code}`)
    t.equal(body.trustAnchors, workshop.read('ca.crt'), 'the CA of the file is the anchor')
    workshop.write('leaf.crt', String(body.certificate))
    for (const check of [
      ['-purpose', 'sslserver', '-verify_hostname', 'demo-head-svc.team-a.svc.cluster.local'],
      ['-purpose', 'sslclient', '-verify_ip', '127.0.0.2']
    ]) {
      const judged = workshop.judge('verify', ...check, '-CAfile', 'ca.crt', 'leaf.crt')
      t.ok(judged.ok, `openssl takes it: ${judged.output}`)
    }
    t.equal(signer.created.length, 1, 'one object was made')
    const [asked] = signer.created
    const usages = ['digital signature', 'server auth', 'client auth']
    const annotations = { 'rayguard.dev/ray-cluster': 'team-a/demo' }
    t.match(asked, { spec: { usages }, metadata: { annotations } }, 'with what it is for')
    t.match(
      asked?.spec,
      of === 'CertificateRequest'
        ? { issuerRef: issuer, isCA: false, duration: `${lifetimeSeconds}s` }
        : { signerName: 'example.com/ray-pods', expirationSeconds: lifetimeSeconds },
      'of the signer of the settings'
    )
    workshop.write('asked.csr', Buffer.from(asked?.spec.request ?? '', 'base64').toString())
    t.ok(workshop.judge('req', '-in', 'asked.csr', '-verify', '-noout').ok, 'by the pod itself')
    await untilTrue(() => signer.present().length === 0)
    t.pass('and it is taken away')
  })

  t.test(
    `${settings.kind}: attack 85: an answer that is not what was asked for is none`,
    async t => {
      const { signer, enroll, reason } = await play(t, { settings, of })
      const bends: [Bend, RegExp][] = [
        ['a name more', /Names: .*added head\.other-team\.svc\.cluster\.local/],
        ['a name less', /Names: .*missing /],
        ['a CA', /BasicConstraints/],
        ['a longer life', /Lifetime/],
        ['another key', /PublicKey/],
        ['a server alone', /ExtendedKeyUsage/],
        ['another CA', /stranger/]
      ]
      for (const [bend, why] of bends) {
        signer.bend = bend
        const { status, body } = await enroll()
        t.match({ status, body }, { status: 503, body: { code: 'AuthorityUnavailable' } }, bend)
        t.notOk('certificate' in body, `${bend}: nothing is handed out`)
        t.match(reason(), why, `${bend}: the log says what`)
      }
      signer.bend = undefined
      t.equal((await enroll()).status, 201, 'a good one passes')
    }
  )

  t.test(`${settings.kind}: attack 44: what was signed is counted, of use or not`, async t => {
    const { signer, enroll } = await play(t, { settings, of, perPod: 2 })
    signer.bend = 'another CA'
    const codes: unknown[] = []
    for (const _ of [1, 2, 3]) codes.push((await enroll()).body.code)
    t.same(codes, ['AuthorityUnavailable', 'AuthorityUnavailable', 'QuotaExceeded'], 'then no more')
    t.equal(signer.created.length, 2, 'is asked of the signer')
  })

  t.test(`${settings.kind}: a no and a failure are told to the pod, and asked once`, async t => {
    const { signer, enroll, reason } = await play(t, { settings, of })
    for (const [as, status, code] of [
      ['deny', 403, 'AuthorityDenied'],
      ['fail', 503, 'AuthorityUnavailable']
    ] as const) {
      signer.behave(as)
      const key = newKey()
      const before = signer.created.length
      for (const _ of [1, 2]) {
        const answer = await enroll(key)
        t.match(answer, { status, body: { code } }, as)
        t.match(reason(), /: not on Sundays$/, `${as}: the log has the reason, in one line`)
        t.notMatch(JSON.stringify(answer.body), /Sundays/, 'attack 47: the pod has not')
      }
      t.equal(signer.created.length, before + 1, `${as}: the same request is not made anew`)
    }
  })

  t.test(`${settings.kind}: a slow signer is waited for, not asked anew`, async t => {
    const { signer, enroll, reason } = await play(t, { settings, of, cluster: { waitMs: 50 } })
    signer.behave('wait')
    const key = newKey()
    t.match(await enroll(key), { status: 503, body: { code: 'AuthorityUnavailable' } }, 'again')
    t.match(reason(), /has no certificate after 0 s/, 'the log says what is waited for')
    t.equal(signer.present().length, 1, 'the request stays')
    signer.behave('sign')
    await untilTrue(() => signer.present()[0]?.status?.certificate)
    t.equal((await enroll(key)).status, 201, 'the pod comes again and finds its certificate')
    t.equal(signer.created.length, 1, 'of the same request')
  })

  t.test(`${settings.kind}: what nobody comes for is taken away`, async t => {
    const cluster = { waitMs: 50, sweepEveryMs: 10 }
    const { stage, signer, enroll } = await play(t, { settings, of, cluster })
    const names = () => signer.present().map(({ metadata }) => metadata.name)
    signer.behave('wait')
    const young = await pending(enroll, signer)
    const leave = async (name?: string) => {
      const left = await pending(enroll, signer)
      const creationTimestamp = new Date(Date.now() - 61 * 60_000).toISOString()
      if (name !== undefined) stage.standIn.put({ ...left, metadata: { name, creationTimestamp } })
      stage.standIn.put({ ...left, metadata: { ...left.metadata, creationTimestamp } })
      return left.metadata.name
    }
    const name = `${young.metadata.name}?x=1`
    stage.standIn.put({
      ...young,
      metadata: { ...young.metadata, uid: 'odd', name, creationTimestamp: '2001-01-01T00:00:00Z' }
    } as KubernetesObject)
    // The second one tells that all have been looked at since the first.
    for (const name of [await leave('of-somebody-else'), await leave()])
      await untilTrue(() => !names().includes(name))
    t.strictSame(
      names().sort(),
      ['of-somebody-else', name, young.metadata.name].sort(),
      'what a killed process left is gone after an hour; the young, and what is of others, is not'
    )
  })

  t.test(`${settings.kind}: attack 84: an object of another in the place of ours`, async t => {
    const { stage, signer, enroll, reason } = await play(t, {
      ...{ settings, of, cluster: { waitMs: 50 } }
    })
    signer.behave('wait')
    const key = newKey()
    await enroll(key)
    const [ours] = signer.present()
    if (ours === undefined) throw new Error('there is a request')
    const forged = createCertificateRequest(newKey(), {
      dnsNames: ['localhost', 'head.other-team.svc.cluster.local'],
      ipAddresses: []
    })
    const request = Buffer.from(forged).toString('base64')
    const ofIssuers = of === 'CertificateRequest'
    const changes: [string, object][] = [
      ['other names', { request }],
      ['no request', { request: 'AAAA' }],
      ['other usages', { usages: ['any'] }],
      ...((ofIssuers
        ? [
            ['a CA', { isCA: true }],
            ['a longer life', { duration: `${lifetimeSeconds + 1}s` }],
            ['a shorter life', { duration: '40h0m0s' }],
            ['a life of its own', { duration: null }],
            ['a life that cannot be read', { duration: '2 days' }]
          ]
        : [
            ['of another user', { username: 'system:serviceaccount:team-a:mallory' }],
            ['a longer life', { expirationSeconds: lifetimeSeconds + 1 }],
            ['a shorter life', { expirationSeconds: 40 * 3600 }],
            ['a life of its own', { expirationSeconds: null }]
          ]) as [string, object][]),
      ofIssuers
        ? ['another issuer', { issuerRef: { ...issuer, kind: 'ClusterIssuer' } }]
        : ['another signer', { signerName: 'example.com/others' }]
    ]
    for (const [what, change] of changes) {
      const { uid: _, ...metadata } = ours.metadata
      const put = stage.standIn.put({
        ...ours,
        ...{ metadata, status: null, spec: { ...ours.spec, ...change } }
      } as KubernetesObject)
      t.match(await enroll(key), { status: 503, body: { code: 'AuthorityUnavailable' } }, what)
      t.match(reason(), /asks for something else/, `${what}: the log says so`)
      const now = signer.present().find(({ metadata }) => metadata.uid === put.metadata.uid)
      // cert-manager approves what it finds.
      if (!ofIssuers) t.strictSame(now?.status, null, `${what}: it is not approved`)
    }
    const { labels } = ours.metadata
    for (const [what, change] of Object.entries(ofIssuers ? {} : metadataOfOthers(labels))) {
      stage.standIn.put({
        ...{ ...ours, status: null },
        metadata: { ...ours.metadata, ...change }
      } as KubernetesObject)
      t.match(await enroll(key), { status: 503 }, what)
      t.match(reason(), /asks for something else/, `${what}: the log says so`)
      t.strictSame(signer.present()[0]?.status, null, `${what}: it is not approved`)
    }
    const spec = ofIssuers ? { ...ours.spec, duration: '48h0m0s' } : ours.spec
    stage.standIn.put({ ...ours, spec } as KubernetesObject)
    signer.behave('sign')
    t.equal(
      (await enroll(key)).status,
      201,
      'what asks for the same is ours, however it is written'
    )
  })

  t.test(`${settings.kind}: an API that fails is come back to`, async t => {
    const { stage, enroll, reason } = await play(t, { settings, of })
    for (const [status, why] of [
      [500, /Unavailable/],
      [403, /Forbidden/],
      [422, /Invalid/]
    ] as const) {
      stage.standIn.interfere(({ method, path }) =>
        method === 'POST' && /requests$/.test(path) ? { status } : undefined
      )
      t.match(await enroll(), { status: 503, body: { code: 'AuthorityUnavailable' } }, `${status}`)
      t.match(reason(), why, `${status}: the log says so`)
    }
    stage.standIn.interfere(undefined)
    t.equal((await enroll()).status, 201, 'then it goes on')
  })

  t.test(`${settings.kind}: attack 93: it is not asked for what a client needs`, async t => {
    const { stage, signer } = await play(t, { settings, of })
    const authority = await openAuthority(settings, optionsOver(stage.client, {}))
    t.teardown(authority.close)
    const { publicKey, csr, rayCluster } = caRequest().request
    const asked = { publicKey, csr, rayCluster, names: { dnsNames: [], ipAddresses: [] } }
    await t.rejects(
      authority.issue({ ...asked, purpose: 'client', lifetimeSeconds }),
      { code: 'PodsOnly' },
      'it is set up for pods, and says so'
    )
    t.equal(signer.created.length, 0, 'nobody was asked')
  })

  t.test(`${settings.kind}: its rights are asked for`, async t => {
    const { stage } = await play(t, { settings, of })
    const calls = createCalls(stage.client)
    const needed = neededRights(settings, own)
    t.strictSame(await missingRights(calls, needed), [], 'nothing is missing')
    const group = of === 'CertificateRequest' ? 'cert-manager.io' : 'certificates.k8s.io'
    stage.standIn.deny(`delete ${group}/${of.toLowerCase()}s`, `approve ${group}/signers`)
    t.strictSame(
      await missingRights(calls, needed),
      [
        `delete ${of.toLowerCase()}s.${group}`,
        ...(of === 'CertificateRequest' ? [] : [`approve signers.${group} example.com/ray-pods`])
      ],
      'what is missing is named'
    )
  })
}

/** In which an object is not ours any more. */
function metadataOfOthers(labels: Record<string, string> | null | undefined): {
  [what: string]: Pick<ObjectMeta, 'labels' | 'annotations'>
} {
  return {
    'another word of ours': { labels: { ...labels, 'app.kubernetes.io/managed-by': 'mallory' } },
    'one more in our name': { labels: { ...labels, 'rayguard.dev/more': 'true' } },
    'of another RayCluster': { annotations: { 'rayguard.dev/ray-cluster': 'team-b/demo' } },
    'of none': { annotations: {} }
  }
}

t.test('a request of a tenant is never approved', async t => {
  const { stage, signer, enroll } = await play(t, {
    ...{ settings: csrSettings, of: 'CertificateSigningRequest' }
  })
  signer.behave('wait')
  const csr = createCertificateRequest(newKey(), { dnsNames: ['a.test'], ipAddresses: [] })
  const labels = { 'rayguard.dev/requested-by': own }
  for (const [name, metadata] of [
    ['attack 71: of the same signer', { name: 'tenant' }],
    ['attack 71: which says that it is ours', { name: 'rayguard-0123', labels }]
  ] as const) {
    stage.standIn.put({
      ...{ apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest', metadata },
      spec: {
        signerName: 'example.com/ray-pods',
        request: Buffer.from(csr).toString('base64'),
        usages: ['digital signature', 'server auth', 'client auth']
      }
    } as KubernetesObject)
    signer.behave('sign')
    t.equal((await enroll()).status, 201, 'others go on')
    const found = signer.present().find(each => each.metadata.name === metadata.name)
    t.strictSame(found?.status, undefined, name)
  }
})

t.test('attack 84: a request is changed between the look and the approval', async t => {
  const { stage, signer, enroll } = await play(t, {
    ...{ settings: csrSettings, of: 'CertificateSigningRequest' }
  })
  let change: ((object: KubernetesObject & { spec: object }) => object) | undefined
  let changes = 0
  stage.standIn.interfere(({ method, path }) => {
    const [, name] = /requests\/([^/]+)\/approval$/.exec(path) ?? []
    const object = signer.present().find(({ metadata }) => metadata.name === name)
    if (method !== 'PUT' || !object || !change) return undefined
    changes += 1
    stage.standIn.put(change(object) as KubernetesObject)
    return undefined
  })
  change = object => {
    change = undefined
    return { ...object, metadata: { ...object.metadata, generation: changes } }
  }
  t.equal((await enroll()).status, 201, 'what the API server keeps of it: it is looked at again')
  t.equal(changes, 1, 'there was one')
  const request = Buffer.from(
    createCertificateRequest(newKey(), { dnsNames: ['evil.test'], ipAddresses: [] })
  ).toString('base64')
  change = object => {
    change = undefined
    return { ...object, spec: { ...object.spec, request } }
  }
  t.match(await enroll(), { status: 503, body: { code: 'AuthorityUnavailable' } }, 'other names')
  t.strictSame(signer.present()[0]?.status, undefined, 'it is not approved')
  change = object => ({ ...object, metadata: { ...object.metadata, generation: changes } })
  const before = changes
  t.match(await enroll(), { status: 503 }, 'one that changes without end is left')
  t.equal(changes - before, 3, 'after three tries')
})

t.test('what others note on a request is no reason to refuse it, and is not approved', async t => {
  const { stage, signer, enroll } = await play(t, {
    ...{ settings: csrSettings, of: 'CertificateSigningRequest', cluster: { waitMs: 50 } }
  })
  const labels = { 'cost.example.com/centre': '7' }
  // https://cert-manager.io/docs/usage/kube-csr/: its signer makes a CA of it.
  const annotations = { 'experimental.cert-manager.io/request-is-ca': 'true' }
  const note = ({ metadata, ...object }: KubernetesObject) =>
    stage.standIn.put({
      ...object,
      metadata: {
        ...metadata,
        labels: { ...metadata.labels, ...labels },
        annotations: { ...metadata.annotations, ...annotations }
      }
    })
  const approved: KubernetesObject[] = []
  stage.standIn.store.subscribe(({ object }) => {
    const { status } = object as CertificateSigningRequest
    if (status?.conditions?.length) approved.push(structuredClone(object))
  })
  let noted = 0
  stage.standIn.interfere(({ method, path }) => {
    const [, name] = /requests\/([^/]+)\/approval$/.exec(path) ?? []
    const object = signer.present().find(({ metadata }) => metadata.name === name)
    if (method === 'PUT' && object && noted++ === 0) note(object)
    return undefined
  })
  t.equal((await enroll()).status, 201, 'noted between its creation and its approval')
  t.equal(noted, 2, 'which was tried again')

  signer.behave('wait')
  const key = newKey()
  t.match(await enroll(key), { status: 503 }, 'a slow signer')
  const sent = signer.created.at(-1)?.metadata
  const slow = signer.present().find(({ metadata }) => metadata.uid === sent?.uid)
  if (sent === undefined || slow === undefined) throw new Error('there is a request')
  note({ ...slow, status: null } as KubernetesObject)
  t.match(await enroll(key), { status: 503 }, 'noted before the pod has come again')
  signer.behave('sign')
  t.equal((await enroll(key)).status, 201, 'it is approved and signed')
  t.ok(approved.length >= 2)
  for (const { metadata } of approved)
    t.strictSame(
      { labels: metadata.labels, annotations: metadata.annotations },
      { labels: sent.labels, annotations: sent.annotations },
      'attack 84: what a signer may read of it is ours'
    )
})

t.test('where others approve, Rayguard does not', async t => {
  const { stage, signer, enroll, reason } = await play(t, {
    settings: { ...csrSettings, approve: false },
    ...{ of: 'CertificateSigningRequest', cluster: { waitMs: 50 } }
  })
  const key = newKey()
  t.match(await enroll(key), { status: 503 }, 'the pod waits')
  t.match(reason(), /nobody has approved it/, 'the log says for what')
  const [found] = signer.present() as CertificateSigningRequest[]
  if (found === undefined) throw new Error('there is a request')
  approve(stage.standIn, found)
  await untilTrue(() => signer.present()[0]?.status?.certificate)
  t.equal((await enroll(key)).status, 201, 'approved by a person, it is signed')
  t.strictSame(
    neededRights({ ...csrSettings, approve: false }, own).filter(({ verb }) => verb === 'approve'),
    [],
    'and the right to approve is not needed'
  )
})

t.test('whoever waits for a person holds no place for long', async t => {
  const { stage, signer, enroll, reason } = await play(t, {
    settings: { ...csrSettings, approve: false },
    // The runner ends what would be waited for so long.
    ...{ of: 'CertificateSigningRequest', cluster: { waitMs: 3_600_000, approvalMs: 20 } }
  })
  const key = newKey()
  for (const _ of [1, 2]) {
    t.match(await enroll(key), { status: 503 }, 'without an approval it is told to come again')
    t.match(reason(), /nobody has approved it/, 'and the log why')
  }
  signer.behave('wait')
  const [found] = signer.present() as CertificateSigningRequest[]
  if (found === undefined) throw new Error('there is a request')
  approve(stage.standIn, found)
  const looked = () =>
    stage.standIn.requests.filter(each => /^GET .*requests\/ray/.test(each)).length
  const before = looked()
  const waiting = enroll(key)
  await untilTrue(() => looked() > before)
  signer.behave('sign')
  t.equal((await waiting).status, 201, 'with one it is waited for the signer')
  t.equal(signer.created.length, 1, 'of one request')
})

t.test('the anchor of a signer may be replaced while it runs', async t => {
  const file = workshop.write('anchor.crt', workshop.read('ca.crt'))
  const told: unknown[] = []
  const { signer, enroll } = await play(t, {
    settings: { ...csrSettings, certificateFile: file },
    of: 'CertificateSigningRequest',
    options: { pollMs: 5, onReload: outcome => told.push(outcome) }
  })
  t.equal((await enroll()).status, 201, 'by the first')
  const replace = (text: string) => renameSync(workshop.write('next.crt', text), file)
  replace('no certificate')
  await untilTrue(() => told.length === 2)
  t.match(told[1], { loaded: false }, 'what is none is not taken')
  t.equal((await enroll()).status, 201, 'and the former one stays')
  replace(workshop.read('stranger.crt'))
  await untilTrue(() => told.length === 3)
  t.match(told[2], { loaded: true, description: { subject: 'CN=stranger' } }, 'another CA is')
  t.match(await enroll(), { status: 503 }, 'whose signature is wanted from then on')
  signer.ca = 'stranger'
  const { status, body } = await enroll()
  t.equal(status, 201, 'and got')
  t.equal(body.trustAnchors, workshop.read('stranger.crt'), 'it is the anchor')
})

t.test('without a file the CA of an issuer is learned from its answers', async t => {
  const { certificateFile: _, ...settings } = issuerSettings
  const told: unknown[] = []
  const options = { onReload: (outcome: unknown) => void told.push(outcome) }
  const { signer, enroll } = await play(t, { settings, of: 'CertificateRequest', options })
  t.equal(signer.created.length, 1, 'one certificate is asked for at the start')
  t.match(told, [{ loaded: true, description: { subject: 'CN=ca' } }], 'the CA is known')
  t.equal((await enroll()).body.trustAnchors, workshop.read('ca.crt'), 'and is the anchor of pods')
  signer.ca = 'stranger'
  t.equal((await enroll()).body.trustAnchors, workshop.read('stranger.crt'), 'and so is the next')
  t.match(told[1], { loaded: true, description: { subject: 'CN=stranger' } }, 'which is told')
  const former = workshop.read('stranger.crt')
  t.teardown(() => workshop.write('stranger.crt', former))
  const sameKey = ['-in', 'stranger.csr', '-key', 'stranger.key', '-extfile', 'stranger.cnf']
  workshop.run('x509', '-req', ...sameKey, '-extensions', 'ext', '-out', 'stranger.crt')
  const renewed = workshop.read('stranger.crt')
  t.not(renewed, former, 'a CA may be renewed with its key')
  for (const _ of [1, 2]) t.equal((await enroll()).body.trustAnchors, renewed, 'and is the anchor')
  t.equal(told.length, 3, 'which is told once')
  await untilTrue(() => signer.present().length === 0)
})

t.test('what is above a CA that was learned holds for what is below it', async t => {
  const { certificateFile: _, ...settings } = issuerSettings
  const { stage, signer } = await play(t, { settings: issuerSettings, of: 'CertificateRequest' })
  const [basic = '', ...others] = caExtensions
  for (const [root, extensions, problem] of [
    ['mild', caExtensions, undefined],
    ['short', [`${basic},pathlen:2`, ...others], /path length of a CA above it/],
    ['bound', [...caExtensions, 'nameConstraints=permitted;DNS:localhost'], /name constraints/]
  ] as const) {
    makeCa(workshop, root, { extensions: [...extensions] })
    makeCa(workshop, `${root}-middle`, { issuer: root })
    makeCa(workshop, `${root}-low`, { issuer: `${root}-middle` })
    Object.assign(signer, { ca: `${root}-low`, above: [`${root}-middle`, root] })
    const options = { clusterDomain: 'localhost' }
    const authority = await openAuthority(settings, optionsOver(stage.client, { options }))
    t.teardown(authority.close)
    const found = authority.intermediates?.problem() ?? 'none'
    t.match(found, problem ?? 'none', `${root}: whether a CA of a RayCluster fits below it`)
    t.equal(authority.describe().subject, `CN=${root}-low`, 'and the anchor is the lowest')
  }
})

t.test('a root that has ended, or ends before its CA, does not keep that from use', async t => {
  const { certificateFile: _, ...settings } = issuerSettings
  const { stage, signer } = await play(t, { settings: issuerSettings, of: 'CertificateRequest' })
  makeCa(workshop, 'old-root')
  makeCa(workshop, 'old-low', { issuer: 'old-root', days: 30 })
  const again = ['-in', 'old-root.csr', '-key', 'old-root.key', '-extfile', 'old-root.cnf']
  for (const dates of [
    ['-days', '0'],
    ['-days', '2']
  ]) {
    workshop.run('x509', '-req', ...again, '-extensions', 'ext', ...dates, '-out', 'old-root.crt')
    Object.assign(signer, { ca: 'old-low', above: ['old-root'] })
    const authority = await openAuthority(settings, optionsOver(stage.client, {}))
    t.teardown(authority.close)
    t.equal(authority.describe().subject, 'CN=old-low', 'it is what pods trust')
    const left = (authority.describe().notAfter.getTime() - Date.now()) / 86_400_000
    t.ok(left > 29, 'until it ends itself')
  }

  await t.test('and what keeps it from use is told with the way out', async t => {
    const constraint = 'nameConstraints=permitted;IP:10.0.0.0/255.0.0.0'
    makeCa(workshop, 'address-root', { extensions: [...caExtensions, constraint] })
    makeCa(workshop, 'address-low', { issuer: 'address-root' })
    Object.assign(signer, { ca: 'address-low', above: ['address-root'] })
    await t.rejects(openAuthority(settings, optionsOver(stage.client, {})), {
      code: 'Invalid',
      message:
        /CA 1 above it has name constraints on IP.*authority\.certificateFile names .*without/
    })
    const certificateFile = workshop.path('address-low.crt')
    const pinned = await openAuthority(
      { ...settings, certificateFile },
      optionsOver(stage.client, {})
    )
    t.equal(pinned.describe().subject, 'CN=address-low', 'which is one')
    await pinned.close()
  })
})

t.test('a CA is learned by one request, however slow the issuer is', async t => {
  const { signer, authority, failures } = await tryingAgain(t, 'wait')
  await untilTrue(() => failures.length >= 3)
  t.strictSame(new Set(failures), new Set(['Unavailable']), 'each try ends with what may pass')
  signer.behave('sign')
  await untilTrue(() => authority.problem?.() === undefined)
  t.equal(authority.describe().subject, 'CN=ca', 'then it is known')
  t.type(authority.describe().notBefore, Date, 'and since when it is')
  t.equal(signer.created.length, 1, 'by the request of the first try')
  await untilTrue(() => signer.present().length === 0)
})

t.test('a no to the request for a CA stands for a while, a failure for less', async t => {
  for (const [behaviour, code, seconds] of [
    ['deny', 'Denied', 600],
    ['fail', 'Unavailable', 60]
  ] as const) {
    const { stage, signer, authority, failures } = await tryingAgain(t, behaviour)
    const tried = () => untilTrue(() => failures.length >= 3)
    await tried()
    t.strictSame(new Set(failures), new Set([code]), 'each try ends with it')
    const [refused, ...more] = signer.present()
    t.equal(more.length, 0, 'which is asked for once')
    signer.behave('sign')
    const age = (seconds: number) => {
      const creationTimestamp = new Date(Date.now() - seconds * 1000).toISOString()
      const metadata = { ...refused?.metadata, creationTimestamp }
      stage.standIn.put({ ...refused, metadata } as KubernetesObject)
    }
    age(seconds - 30)
    failures.length = 0
    await tried()
    t.equal(signer.created.length, 1, `not again before ${seconds} s`)
    age(seconds + 1)
    await untilTrue(() => authority.problem?.() === undefined)
    t.equal(signer.created.length, 2, 'and then once more')
  }
})

/** An issuer whose CA is not known yet, and the tries to learn it. */
async function tryingAgain(t: Test, behaviour: 'wait' | 'deny' | 'fail') {
  const { certificateFile: _, ...settings } = issuerSettings
  const { stage, signer } = await play(t, { settings: issuerSettings, of: 'CertificateRequest' })
  signer.behave(behaviour)
  const options = { probe: createProbe() }
  const cluster = { waitMs: behaviour === 'wait' ? 5 : 10_000 }
  const failures: string[] = []
  const authority = await openPatiently({
    ...{ kind: 'cert-manager', namesFrom: 'request', retryMs: 5 },
    open: () => openAuthority(settings, optionsOver(stage.client, { options, cluster })),
    onFault: ({ code }) => failures.push(code)
  })
  t.teardown(authority.close)
  return { stage, signer, authority, failures }
}

const signerOfCas = 'example.com/ray-cas'

t.test('a signer of CAs signs the CA of a Ray cluster, and nothing of pods', async t => {
  const settings = { ...csrSettings, intermediateSignerName: signerOfCas }
  const { stage, signer, enroll } = await play(t, { settings, of: 'CertificateSigningRequest' })
  const intermediates = await intermediatesOver(t, stage, settings)
  const { request, judge } = caRequest()
  t.strictSame(judge(await intermediates.issue(request)), [], 'as it was asked for')
  const [asked] = signer.created as CertificateSigningRequest[]
  t.match(
    asked?.spec,
    {
      ...{ signerName: signerOfCas, expirationSeconds: lifetimeSeconds },
      usages: ['cert sign', 'crl sign']
    },
    'the signer of CAs was asked'
  )
  t.match(asked?.metadata.annotations, { 'rayguard.dev/ray-cluster': 'team-a/demo' }, 'for whom')
  workshop.write('asked.csr', Buffer.from(asked?.spec.request ?? '', 'base64').toString())
  const { output } = workshop.judge('req', '-in', 'asked.csr', '-verify', '-noout', '-text')
  t.match(output, /CA:TRUE, pathlen:0/, 'openssl reads in it what is wanted')
  t.equal((await enroll()).status, 201, 'pods under the shared CA are signed')
  t.match(signer.created[1]?.spec, { signerName: csrSettings.signerName }, 'by the other signer')
  signer.bend = 'another CA'
  await t.rejects(intermediates.issue(request), { code: 'Invalid' }, 'attack 85: of another CA')
  signer.bend = undefined
  signer.behave('deny')
  await t.rejects(intermediates.issue(request), { code: 'Denied' }, 'a no is a no')
  t.strictSame(
    neededRights(settings, own)
      .filter(({ verb }) => verb === 'approve')
      .map(({ name }) => name),
    ['example.com/ray-pods', signerOfCas],
    'approving needs the right for both'
  )
  const none = await intermediatesOver(t, stage, csrSettings)
  t.match(none.problem(), /authority\.intermediateSignerName/, 'without a name there is no signer')
  await t.rejects(none.issue(request), { code: 'Invalid' }, 'who could be asked')
  const short = { ...settings, certificateFile: shortCa() }
  const unable = await intermediatesOver(t, stage, short)
  t.match(unable.problem(), /path length/, 'a CA without room for one says so beforehand')
  const count = signer.created.length
  await t.rejects(unable.issue(request), { code: 'Invalid' }, 'and its signer')
  t.equal(signer.created.length, count, 'is not asked')
  await t.rejects(
    openAuthority(short, optionsOver(stage.client, { options: { signsCas: true } })),
    { code: 'Invalid' },
    'where it has to sign CAs it is not taken'
  )
})

t.test('an issuer of cert-manager signs the CA of a Ray cluster', async t => {
  const { stage, signer } = await play(t, { settings: issuerSettings, of: 'CertificateRequest' })
  const intermediates = await intermediatesOver(t, stage, issuerSettings)
  const { request, judge } = caRequest()
  const pem = await intermediates.issue(request)
  const mayLackPathLength = intermediates.leavesOutPathLength === true
  t.strictSame(judge(pem, { mayLackPathLength }), [], 'as it should be')
  t.match(judge(pem), [{ code: 'PathLength' }], 'but for the path length')
  const usages = ['cert sign', 'crl sign']
  t.match(signer.created.at(-1)?.spec, { isCA: true, usages }, 'as its request says')
  signer.bend = 'another CA'
  await t.rejects(intermediates.issue(request), { code: 'Invalid' }, 'attack 85: of another CA')
  signer.bend = undefined
  signer.behave('deny')
  await t.rejects(intermediates.issue(request), { code: 'Denied' }, 'a no is a no')
  const short = await intermediatesOver(t, stage, { ...issuerSettings, certificateFile: shortCa() })
  t.match(short.problem(), /path length/, 'a CA without room for one says so beforehand')
  await t.rejects(short.issue(request), { code: 'Invalid' }, 'and is not asked')
})

t.test('an issuer that any namespace may ask is used only where that is accepted', async t => {
  const { stage, signer } = await play(t, { settings: issuerSettings, of: 'CertificateRequest' })
  const open = async (change: object) => {
    const authority = await openAuthority(
      { ...issuerSettings, ...change },
      optionsOver(stage.client, {})
    )
    await authority.close()
  }
  const cluster = { ...issuer, kind: 'ClusterIssuer' }
  const company = { name: 'all', kind: 'Company', group: 'ca.example.com' }
  await t.rejects(open({ issuer: cluster }), { code: 'Invalid' }, 'attack 71: a ClusterIssuer')
  await t.rejects(open({ issuer: company }), { code: 'Invalid' }, 'attack 71: whatever its name is')
  await t.resolves(open({ issuer: cluster, issuerOpenToAllNamespaces: true }), 'accepted')
  const unknown = { ...issuer, group: 'nowhere.example.com' }
  await t.rejects(open({ issuer: unknown }), { code: 'Unavailable' }, 'one that is not there yet')
  t.equal(signer.created.length, 0, 'none of them was asked')
  await t.rejects(
    openAuthority(issuerSettings, { clock: Date.now, random: size => randomBytes(size) }),
    { code: 'Invalid' },
    'without a cluster there is none to ask'
  )
})

/** What a Ray cluster's CA is asked with, and what has to come of it. */
function caRequest() {
  const request = intermediateRequest(newKey(), 'team-a/demo', lifetimeSeconds)
  const { publicKey, commonName } = request
  return {
    request,
    judge: (pem: string, exception: object = {}) =>
      checkIntermediate(pem, {
        ...{ publicKey, commonName, now: new Date(), maximumLifetimeSeconds: lifetimeSeconds },
        ...{ issuers: workshop.read('ca.crt'), ...exception }
      })
  }
}

async function intermediatesOver(t: Test, { client }: Stage, settings: AuthoritySettings) {
  const authority = await openAuthority(settings, optionsOver(client, {}))
  t.teardown(authority.close)
  if (authority.intermediates === undefined) throw new Error('it signs CAs')
  return authority.intermediates
}

/** The file of a CA that has no room for one below it. */
function shortCa(): string {
  makeCa(workshop, 'short', {
    extensions: caExtensions.map(each => each.replace('CA:TRUE', 'CA:TRUE,pathlen:0'))
  })
  return workshop.path('short.crt')
}

/** The object of a request that nobody has signed, of another key each time. */
async function pending(enroll: Played['enroll'], signer: PlayedSigner) {
  await enroll()
  const object = signer.present().at(-1)
  if (object === undefined) throw new Error('there is a request')
  return object
}

/** What takes a moment; the runner's own limit ends what never comes. */
async function untilTrue(condition: () => unknown): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 5))
}
