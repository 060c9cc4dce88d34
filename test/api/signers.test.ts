/**
 * The authorities that are asked through the Kubernetes API, on a real one: a small signer of the test's own for
 * CertificateSigningRequests, the real cert-manager for CertificateRequests. Pods are KubeRay's, with the real agent.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes, X509Certificate } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  type CertificateRequest,
  durationSeconds
} from '../../src/authority/cert-manager/certificate-request.ts'
import { openAuthority } from '../../src/authority/open.ts'
import { entrySecrets, recordSecret } from '../../src/authority/per-cluster/entries.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import type {
  CertificateSigningRequest,
  KubernetesObject,
  Pod
} from '../../src/kubernetes/objects.ts'
import { checkIntermediate } from '../../src/x509/check-intermediate.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import {
  type ApiFailure,
  apply,
  type ClusterApi,
  connect,
  eventually,
  makeNamespace,
  makeToken,
  skip
} from '../support/cluster.ts'
import { makePair, makeCa as makeServingCa } from '../support/cluster-certificates.ts'
import { renderChart, skipWithoutHelm } from '../support/cluster-chart.ts'
import { checkCertificate } from '../support/cluster-checks.ts'
import { makeIdleCluster, makeIdleWorker } from '../support/cluster-idle.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { assign, type PlayedKubelet, playKubelet } from '../support/cluster-kubelet.ts'
import { toInput } from '../support/cluster-manifest.ts'
import { startServe } from '../support/cluster-process.ts'
import { type RunningRayguard, startRayguard } from '../support/cluster-rayguard.ts'
import { ask } from '../support/cluster-request.ts'
import { sample } from '../support/cluster-samples.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import { intermediateRequest } from '../support/intermediate-request.ts'
import { signRequest } from '../support/signer.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const own = 'rayguard-system'
const account = `system:serviceaccount:${own}:rayguard-enrollment`
const signerName = 'example.com/ray-pods'
const intermediateSignerName = 'example.com/ray-cas'
const signingRequests = '/apis/certificates.k8s.io/v1/certificatesigningrequests'
const requestsOf = (namespace: string) =>
  `/apis/cert-manager.io/v1/namespaces/${namespace}/certificaterequests`
const lifetime = { enrollment: { lifetime: '2d' } }
const without = skip || skipWithoutHelm

t.test('a signer of the CAs of Ray clusters', { skip: without }, async t => {
  const workshop = openWorkshop(t)
  makeCa(workshop, 'ca')
  const api = await connect()
  t.teardown(api.close)
  // Where a record says that something was shared a moment ago, what begins now is shared, too.
  const clean = async () => {
    for (const name of [recordSecret, ...entrySecrets])
      await api.delete(`/api/v1/namespaces/${own}/secrets/${name}`)
  }
  await clean()
  t.teardown(clean)
  const signer = playSigner(api, (csr, isCA) =>
    signRequest(workshop, { csr, ca: 'ca', isCA, lifetimeSeconds: 4 * 2 * 86_400 })
  )
  t.teardown(signer.stop)
  const names = { signerName, intermediateSignerName }
  const stage = await prepare(t, api, {
    values: [
      ...['kind=kubernetes-csr', 'approve=true'],
      ...Object.entries(names).map(([key, name]) => `${key}=${name}`)
    ],
    authority: {
      ...{ kind: 'kubernetes-csr', ...names, approve: true },
      certificateFile: workshop.path('ca.crt')
    },
    ...{ trust: 'perCluster', tenant: 'with-a-signer-of-cas', network: 88 }
  })
  await stage.certified(t, workshop.read('ca.crt'))
  t.match(
    signer.signed.map(({ spec, metadata }) => ({
      ...spec,
      of: metadata.annotations?.['rayguard.dev/ray-cluster']
    })),
    [
      {
        ...{ signerName: intermediateSignerName, username: account },
        ...{ usages: ['cert sign', 'crl sign'], expirationSeconds: 4 * 2 * 86_400 },
        of: `${stage.tenant}/raycluster-kuberay`
      }
    ],
    'all its pods are one request, for their CA'
  )
  const [ca] = signer.signed
  t.match(ca?.status?.conditions, [{ type: 'Approved', reason: 'ConfirmedByRayguard' }], 'by us')
  await eventually('it is taken away', async () => {
    const left = await api.list<CertificateSigningRequest>(signingRequests)
    return left.every(({ metadata }) => metadata.name !== ca?.metadata.name)
  })
  const taken = api.as(await makeToken(api, own, 'rayguard-enrollment'))
  t.teardown(taken.close)
  const theirs = (name: string) => ({
    ...signingRequest('rayguard-of-both', createCertificateRequest(newKey())),
    spec: { ...signingRequest('', createCertificateRequest(newKey())).spec, signerName: name }
  })
  const dryRun = (name: string) =>
    taken.create(`${signingRequests}?dryRun=All`, theirs(name)).then(
      () => 'done',
      ({ code, message }: ApiFailure) => `${code} ${message}`
    )
  await eventually('the policy is in force', async () =>
    /422.*rayguard-signing-requests/.test(await dryRun('example.com/others'))
  )
  t.pass('attack 86: no other signer can be asked')
  for (const name of [signerName, intermediateSignerName]) t.equal(await dryRun(name), 'done', name)
})

t.test('a signer of the cluster', { skip: without }, async t => {
  const workshop = openWorkshop(t)
  makeCa(workshop, 'ca')
  const api = await connect()
  t.teardown(api.close)
  const signer = playSigner(api, csr =>
    signRequest(workshop, { csr, ca: 'ca', lifetimeSeconds: 2 * 86_400 })
  )
  t.teardown(signer.stop)
  const stage = await prepare(t, api, {
    ...{
      trust: 'shared',
      values: ['kind=kubernetes-csr', `signerName=${signerName}`, 'approve=true']
    },
    authority: {
      ...{ kind: 'kubernetes-csr', signerName, approve: true },
      certificateFile: workshop.path('ca.crt')
    },
    tenant: 'with-a-signer',
    network: 86
  })
  const { rayguard, tenant } = stage
  const attacker = api.as(await makeToken(api, tenant, 'default'))
  t.teardown(attacker.close)
  const evil = createCertificateRequest(newKey(), {
    dnsNames: ['localhost', `raycluster-kuberay-head-svc.${tenant}.svc.cluster.local`],
    ipAddresses: ['127.0.0.1', '::1', '127.0.86.250']
  })

  await t.test('every pod has its certificate, and nothing is left over', async t => {
    await stage.certified(t, workshop.read('ca.crt'))
    t.ok(signer.signed.length >= 2, 'the signer was asked for each')
    for (const { spec, status, metadata } of signer.signed) {
      t.match(spec, { username: account, expirationSeconds: 2 * 86_400 }, `${metadata.name}: ours`)
      t.match(status?.conditions, [{ type: 'Approved', reason: 'ConfirmedByRayguard' }], 'by us')
    }
    await eventually('they are taken away', async () => {
      const left = await api.list<CertificateSigningRequest>(signingRequests)
      return left.filter(({ spec }) => spec.signerName === signerName).length === 0
    })
  })

  await t.test('attack 71: a tenant asks the same signer', async t => {
    const rights = toInput(everybodyMayAsk() as KubernetesObject[])
    await kubectl(['apply', '-f', '-'], rights)
    t.teardown(() => kubectl(['delete', '-f', '-'], rights))
    const created = await eventually('the right is in force', () =>
      attacker
        .create<CertificateSigningRequest>(
          signingRequests,
          signingRequest('rayguard-of-a-tenant', evil)
        )
        .catch(() => undefined)
    )
    t.teardown(() => api.delete(`${signingRequests}/rayguard-of-a-tenant`))
    const reply = await stage.asked()
    t.equal(reply.code, 'Issued', 'Rayguard goes on approving its own')
    const found = await api.get<CertificateSigningRequest>(
      `${signingRequests}/${created.metadata.name}`
    )
    t.strictSame(found.status, {}, 'but not that one')
  })

  await t.test('attack 84: what others note on a request is not approved', async t => {
    const [policy, binding] = everyRequestIsNoted()
    await kubectl(['apply', '-f', '-'], toInput([policy, binding] as KubernetesObject[]))
    t.teardown(() => kubectl(['delete', '-f', '-'], toInput([policy, binding] as never)))
    const dryRun = () =>
      api.create<CertificateSigningRequest>(
        `${signingRequests}?dryRun=All`,
        signingRequest('noted', evil)
      )
    await eventually('each is noted', async () => (await dryRun()).metadata.annotations?.[noteKey])
    t.equal((await stage.asked()).code, 'Issued')
    t.strictSame(
      Object.keys(signer.signed.at(-1)?.metadata.annotations ?? {}),
      ['rayguard.dev/ray-cluster'],
      'the signer finds what Rayguard has sent'
    )
  })

  await t.test('attack 86: whoever has taken the enrollment server over', async t => {
    const taken = api.as(await makeToken(api, own, 'rayguard-enrollment'))
    t.teardown(taken.close)
    const refused = (what: Promise<unknown>) =>
      what.then(
        () => 'done',
        ({ code, message }: ApiFailure) => `${code} ${message}`
      )
    const policy = /422.*rayguard-signing-requests/
    const client = {
      ...signingRequest('rayguard-client', evil),
      spec: {
        ...signingRequest('', evil).spec,
        signerName: 'kubernetes.io/kube-apiserver-client',
        usages: ['client auth']
      }
    }
    await eventually('the policy is in force', async () =>
      policy.test(await refused(taken.create(`${signingRequests}?dryRun=All`, client)))
    )
    t.pass('cannot ask for a client certificate of the API server')
    const theirs = await api.create<CertificateSigningRequest>(signingRequests, {
      ...client,
      metadata: { name: 'of-an-administrator' }
    })
    t.teardown(() => api.delete(`${signingRequests}/of-an-administrator`))
    const condition = { type: 'Approved', status: 'True', reason: 'x', message: '' }
    t.match(
      await refused(
        taken.replace(`${signingRequests}/of-an-administrator/approval`, {
          ...theirs,
          status: { conditions: [condition] }
        })
      ),
      /403.*not permitted to approve/,
      'cannot approve one for another signer'
    )
    t.match(
      await refused(taken.delete(`${signingRequests}/of-an-administrator`)),
      policy,
      'cannot take it away'
    )
    const name = 'rayguard-of-an-administrator'
    await api.create(signingRequests, signingRequest(name, evil))
    t.teardown(() => api.delete(`${signingRequests}/${name}`))
    const away = await refused(taken.delete(`${signingRequests}/${name}`))
    t.match(away, policy, 'nor one for the own signer')
    await taken.create(signingRequests, signingRequest('rayguard-of-ours', evil))
    t.equal(await refused(taken.delete(`${signingRequests}/rayguard-of-ours`)), 'done', 'its own')
    t.match(
      await refused(
        taken.create(`${signingRequests}?dryRun=All`, signingRequest('any-other-name', evil))
      ),
      policy,
      'cannot make what looks as if it were of others'
    )
  })

  await t.test(
    'a signer that fails is told to the pod, one that is slow is waited for',
    async t => {
      signer.behave('fail')
      t.match(await stage.asked(), { status: 503, code: 'AuthorityUnavailable' }, 'failed is again')
      t.match(await rayguard.log(), /Failed: Broken: the HSM is on fire/, 'the log has its reason')
      signer.behave('wait')
      t.match(await stage.asked(), { status: 503, code: 'AuthorityUnavailable' }, 'slow is again')
      t.match(await rayguard.log(), /it is approved and the signer has not signed/, 'and why')
      signer.behave('sign')
      t.equal((await stage.asked()).code, 'Issued', 'then it goes on')
    }
  )
})

t.test('an issuer of cert-manager', { skip: without }, async t => {
  const workshop = openWorkshop(t)
  makeCa(workshop, 'ca')
  const cluster = (...argumentsList: string[]) =>
    execFileSync('test/cluster/cluster', argumentsList, { stdio: 'pipe' })
  cluster('cert-manager')
  t.teardown(() => {
    for (const name of ['cert-manager', 'cert-manager-cainjector']) cluster('kill', name)
  })
  const api = await connect()
  t.teardown(api.close)
  const stage = await prepare(t, api, {
    ...{ trust: 'shared', values: ['kind=cert-manager', 'issuer.name=ray-pods'] },
    authority: { kind: 'cert-manager', issuer: { name: 'ray-pods' } },
    tenant: 'with-an-issuer',
    network: 87,
    objects: [caSecret(own), issuer('Issuer')]
  })

  function caSecret(namespace: string): KubernetesObject {
    const data = {
      'tls.crt': Buffer.from(workshop.read('ca.crt')).toString('base64'),
      'tls.key': Buffer.from(workshop.read('ca.key')).toString('base64')
    }
    const metadata = { name: 'ray-pods-ca', namespace }
    return {
      ...{ apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/tls', metadata, data }
    } as KubernetesObject
  }

  await t.test('every pod has its certificate, and nothing is left over', async t => {
    await stage.certified(t, workshop.read('ca.crt'))
    await eventually(
      'all requests are taken away',
      async () => (await api.list(requestsOf(own))).length === 0
    )
    t.match(await stage.rayguard.log(), /"subject":"CN=ca"/, 'the CA was learned')
  })

  await t.test('renewed with its key it is still the CA of the pods that run', async t => {
    const counts = () => stage.rayguard.metrics('rayguard_pods_by_anchor')
    const before = await counts()
    t.match(before.join(), /anchor="signing"\} [1-9]/, 'they have said whose they are')
    const request = ['-in', 'ca.csr', '-key', 'ca.key', '-days', '300']
    const extensions = ['-extfile', 'ca.cnf', '-extensions', 'ext']
    workshop.run('x509', '-req', ...request, ...extensions, '-out', 'ca.crt')
    const { fingerprint256 } = new X509Certificate(workshop.read('ca.crt'))
    await api.patch(`/api/v1/namespaces/${own}/secrets/ray-pods-ca`, caSecret(own))
    const renewed = fingerprint256.replaceAll(':', '').toLowerCase()
    await eventually('it is learned', async () => {
      await stage.asked()
      if ((await stage.rayguard.log()).includes(renewed)) return true
      // The informer of cert-manager has not shown it; a pod may ask so and so often.
      await sleep(2_000)
      return false
    })
    t.strictSame(await counts(), before, 'and no pod counts as one of another')
  })

  await t.test('it signs the CA of a Ray cluster', async t => {
    const authority = await openOver(t, Date.now)
    const key = newKey()
    const request = intermediateRequest(key, 'team-a/demo', 30 * 86_400)
    const pem = await authority.intermediates?.issue(request)
    const { publicKey, commonName, lifetimeSeconds } = request
    const problems = checkIntermediate(pem ?? '', {
      ...{ publicKey, commonName, now: new Date(), maximumLifetimeSeconds: lifetimeSeconds },
      ...{ issuers: workshop.read('ca.crt'), mayLackPathLength: true }
    })
    t.strictSame(problems, [], 'as it was asked for')
  })

  await t.test('renewed while nobody asks it is learned, even when it has ended', async t => {
    const time = { passed: 0 }
    const authority = await openOver(t, () => Date.now() + time.passed, { pollMs: 100 })
    const anchor = () => authority.chain?.().trustAnchor
    t.equal(anchor(), workshop.read('ca.crt'), 'the one that is known')
    const day = 86_400_000
    const again = ['-req', '-in', 'ca.csr', '-extfile', 'ca.cnf', '-extensions', 'ext']
    for (const [days, when, renew] of [
      [200, 'with its key', () => workshop.run(...renewed('2000'))],
      [
        2001,
        'with another key, and the former has ended',
        () => makeCa(workshop, 'ca', { days: 9000 })
      ]
    ] as const) {
      const former = anchor()
      renew()
      await api.patch(`/api/v1/namespaces/${own}/secrets/ray-pods-ca`, caSecret(own))
      time.passed = days * day
      await eventually(when, async () => {
        // A day later again: the informer of cert-manager may not have shown it to its signer.
        time.passed += 1.1 * day
        await sleep(500)
        return anchor() !== former
      })
      t.equal(anchor(), workshop.read('ca.crt'), when)
    }
    await eventually(
      'its requests are taken away',
      async () => (await api.list(requestsOf(own))).length === 0
    )

    function renewed(days: string): string[] {
      return ['x509', ...again, '-key', 'ca.key', '-days', days, '-out', 'ca.crt']
    }
  })

  await t.test('attack 86: whoever has taken the enrollment server over', async t => {
    const taken = api.as(await makeToken(api, own, 'rayguard-enrollment'))
    t.teardown(taken.close)
    const asking = (name: string, issuer: string) =>
      taken.create(`${requestsOf(own)}?dryRun=All`, {
        ...tenantsRequest(name, 'Issuer'),
        spec: { ...tenantsRequest(name, 'Issuer').spec, issuerRef: { name: issuer } }
      })
    const policy = /422.*rayguard-certificate-requests/
    await eventually('the policy is in force', () =>
      asking('rayguard-other', 'rayguard-serving').then(
        () => false,
        ({ code, message }: ApiFailure) => policy.test(`${code} ${message}`)
      )
    )
    t.pass('cannot ask an issuer that signs for our own listeners')
    await t.rejects(asking('of-others', 'ray-pods'), { code: 422 }, 'nor under the name of others')
    await t.resolves(asking('rayguard-own', 'ray-pods'), 'its own issuer is asked')
    const { spec, ...theirs } = tenantsRequest('rayguard-serving-1', 'Issuer')
    const ours = 'system:serviceaccount:rayguard-system:rayguard-enrollment'
    for (const [username, refused] of [
      ['system:serviceaccount:cert-manager:cert-manager', true],
      [ours, false]
    ] as const) {
      // as cert-manager's webhook marks it, which does not run here
      const asked = { ...spec, username, issuerRef: { name: 'rayguard-serving' } }
      await api.create(requestsOf(own), { ...theirs, spec: asked })
      const path = `${requestsOf(own)}/rayguard-serving-1`
      const away = taken.delete(path)
      if (!refused) await t.resolves(away, 'its own go, also those to a former issuer')
      else {
        await t.rejects(away, { code: 422 }, 'cannot take away what others have asked for')
        await api.delete(path)
      }
    }
  })

  await t.test('attack 71: a tenant asks the same issuer', async t => {
    const path = requestsOf(stage.tenant)
    await api.create(path, tenantsRequest('of-a-tenant', 'Issuer'))
    const { status } = await eventually('cert-manager has looked at it', async () => {
      const found = await api.get<CertificateRequest>(`${path}/of-a-tenant`)
      return found.status?.conditions?.some(({ type }) => type === 'Ready') && found
    })
    t.notOk(status?.certificate, 'an issuer signs for its own namespace alone')
    const ready = status?.conditions?.find(({ type }) => type === 'Ready')
    t.match(ready, { status: 'False', reason: 'Pending' }, 'in the other it finds none')
  })

  await t.test('attack 71: where it is a ClusterIssuer the tenant gets one', async t => {
    const objects = [
      { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'cert-manager' } },
      caSecret('cert-manager'),
      issuer('ClusterIssuer')
    ]
    await kubectl(['apply', '-f', '-'], toInput(objects))
    t.teardown(() => kubectl(['delete', '--wait=false', '-f', '-'], toInput(objects)))
    const path = requestsOf(stage.tenant)
    await api.create(path, tenantsRequest('of-all', 'ClusterIssuer'))
    const { status } = await eventually('cert-manager signs', async () => {
      const found = await api.get<CertificateRequest>(`${path}/of-all`)
      return Boolean(found.status?.certificate) && found
    })
    workshop.write('stolen.crt', Buffer.from(status?.certificate ?? '', 'base64').toString())
    t.ok(
      workshop.judge('verify', '-CAfile', 'ca.crt', 'stolen.crt').ok,
      'which joins every Ray cluster: why Rayguard asks for issuerOpenToAllNamespaces first'
    )
  })

  await t.test('an issuer without its CA is waited for', async t => {
    await api.delete(`/api/v1/namespaces/${own}/secrets/ray-pods-ca`)
    // cert-manager may still sign from what its cache holds.
    const refusal = await eventually('it has seen that the CA is gone', async () => {
      const reply = await stage.asked()
      return reply.code !== 'Issued' && reply
    })
    t.match(refusal, { status: 503, code: 'AuthorityUnavailable' }, 'again')
    t.match(await stage.rayguard.log(), /has no certificate after \d+ s: Pending/, 'and why')
    const [left] = await api.list<CertificateRequest>(requestsOf(own))
    t.equal(durationSeconds(left?.spec.duration), 2 * 86_400, 'the life is kept as it was asked')

    const starting = await startLearning(t)
    const first = await starting.askedFor(1)
    t.strictSame(await starting.askedFor(2), first, 'a process that starts asks for the CA once')
    t.equal(first.length, 1, 'and leaves its request there')

    await api.create(`/api/v1/namespaces/${own}/secrets`, caSecret(own))
    await eventually('it goes on', async () => (await stage.asked()).code === 'Issued')
    await eventually('and the other begins', starting.isReady)
  })

  /** The authority alone, with the rights of the enrollment server and a clock of the test's. */
  async function openOver(t: Test, clock: () => number, { pollMs = 0 } = {}) {
    const token = await makeToken(api, own, 'rayguard-enrollment')
    const credentials = async () => ({ headers: { authorization: `Bearer ${token}` } })
    const client = createClient(
      { server: api.server, ca: api.ca, credentials },
      { timeoutMs: 5_000 }
    )
    const authority = await openAuthority(
      {
        ...{ kind: 'cert-manager', issuerOpenToAllNamespaces: false },
        issuer: { name: 'ray-pods', kind: 'Issuer', group: 'cert-manager.io' }
      },
      {
        ...{ clock, random: randomBytes, pollMs },
        cluster: {
          ...{ client, namespace: own, fraction: Math.random },
          // What others ask for looks old by this clock, and is theirs.
          ...{ steadyClock: clock, sweepEveryMs: 3_600_000 }
        }
      }
    )
    t.teardown(async () => {
      await authority.close()
      await client.close()
    })
    return authority
  }

  /** One more enrollment server, whose issuer signs nothing yet. */
  async function startLearning(t: Test) {
    const folder = t.testdir()
    const servingCa = makeServingCa(folder, 'serving-ca')
    const serving = makePair(folder, 'serving', servingCa, 'IP:127.0.0.1')
    const serverCaFile = servingCa.certificateFile
    const started = await startServe(api, {
      ...{ folder, component: 'enrollment', wait: false },
      settings: {
        serving: { kind: 'files', ...serving },
        injection: { image: 'a.test/b:1', serverUrl: 'https://127.0.0.1:1', serverCaFile },
        authority: { kind: 'cert-manager', issuer: { name: 'ray-pods' } },
        trust: 'shared',
        ...lifetime
      }
    })
    t.teardown(() => started.stop())
    return {
      /** The names of its requests, which are for no pod, after so many tries. */
      async askedFor(tries: number) {
        await eventually(`it has tried ${tries} times`, async () => {
          const log = await started.log().catch(() => '')
          const failed = log.match(/the authority cannot be reached/g)
          return (failed?.length ?? 0) >= tries
        })
        const requests = await api.list<CertificateRequest>(requestsOf(own))
        return requests
          .filter(
            ({ metadata }) => metadata.annotations?.['rayguard.dev/ray-cluster'] === undefined
          )
          .filter(({ metadata }) => metadata.name?.startsWith('rayguard-'))
          .map(({ metadata }) => metadata.name)
      },
      async isReady() {
        const answer = await fetch(`http://${started.ops}/readyz`).catch(() => undefined)
        return answer?.ok
      }
    }
  }

  function tenantsRequest(name: string, kind: string) {
    const csr = createCertificateRequest(newKey(), {
      dnsNames: ['localhost'],
      ipAddresses: ['127.0.0.1']
    })
    return {
      ...{ apiVersion: 'cert-manager.io/v1', kind: 'CertificateRequest', metadata: { name } },
      spec: {
        request: Buffer.from(csr).toString('base64'),
        issuerRef: { name: 'ray-pods', kind, group: 'cert-manager.io' },
        usages: ['digital signature', 'server auth', 'client auth']
      }
    }
  }
})

interface Stage {
  rayguard: RunningRayguard
  tenant: string
  /** A new key of one more worker asks for exactly the names that it may have. */
  asked(): ReturnType<typeof ask>
  /** Head and workers have what they should, under this CA. */
  certified(t: Test, ca: string): Promise<void>
}

/** Rayguard with this authority and the rights that the chart gives it, and a Ray cluster of KubeRay. */
async function prepare(
  t: Test,
  api: ClusterApi,
  wanted: {
    /** Below `settings.authority` of the chart. */
    values: string[]
    authority: object
    trust: 'perCluster' | 'shared'
    tenant: string
    network: number
    objects?: KubernetesObject[]
  }
): Promise<Stage> {
  const { tenant, network, authority, trust } = wanted
  const folder = t.testdir()
  const values = wanted.values.map(each => `settings.authority.${each}`)
  const objects = [
    ...renderChart(...values).filter(({ metadata }) => /-requests$/.test(metadata.name ?? '')),
    ...(wanted.objects ?? [])
  ]
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: own } }
  await kubectl(['apply', '-f', '-'], toInput([namespace, ...objects]))
  const rayguard = await startRayguard(api, folder, { authority, trust, ...lifetime })
  await rayguard.register()
  await makeNamespace(api, tenant)
  const kubelet = await playKubelet(api, tenant, { folder, network })
  t.teardown(async () => {
    await kubelet.stop()
    await api.delete(`/api/v1/namespaces/${tenant}`)
    await rayguard.unregister()
    await rayguard.stop()
    await kubectl(['delete', '--ignore-not-found', '-f', '-'], toInput(objects))
  })
  await apply(api, tenant, await sample('ray-cluster.sample'))
  const podsPath = `/api/v1/namespaces/${tenant}/pods`
  const isHead = ({ metadata }: Pod) => metadata.labels?.['ray.io/node-type'] === 'head'
  const pods = await eventually('all pods have run their agent', async () => {
    const found = await api.list<Pod>(podsPath)
    return found.length >= 2 && found.every(pod => ended(kubelet, pod)) && found
  })
  await kubelet.stop()
  // One more whose agent does not run: the test asks for it.
  const waiting = await makeIdleWorker(api, await makeIdleCluster(api, tenant))
  const address = `127.0.${network}.200`
  await assign(api, waiting, address)
  const service = `raycluster-kuberay-head-svc.${tenant}.svc.cluster.local`
  return {
    ...{ rayguard, tenant },
    async asked() {
      const names = `DNS:localhost,IP:127.0.0.1,IP:::1,IP:${address}`
      const token = await makeToken(api, tenant, 'default', { audience: 'rayguard', pod: waiting })
      return ask(rayguard, { token, podIPs: [address], from: address, names })
    },
    async certified(t, ca) {
      for (const pod of pods) {
        const run = ended(kubelet, pod)
        if (run === undefined) throw new Error('its agent has run')
        t.equal(run.exitCode, 0, `${pod.metadata.name}: ${run.output}`)
        const { status } = await api.get<Pod>(`${podsPath}/${pod.metadata.name}`)
        const dnsNames = isHead(pod) ? [service] : []
        const own = trust === 'perCluster' ? { pod } : {}
        checkCertificate(t, { run, ca, ip: status?.podIP ?? '', dnsNames, ...own })
      }
    }
  }
}

function ended(kubelet: PlayedKubelet, { metadata }: Pod) {
  return kubelet.runs.get(metadata.name ?? '')
}

interface PlayedSigner {
  /** As they were when they were signed. */
  signed: CertificateSigningRequest[]
  behave(as: 'sign' | 'fail' | 'wait'): void
  stop(): Promise<void>
}

/** As signers of companies do: looks for what is approved, signs it, and writes the status. */
function playSigner(api: ClusterApi, sign: (csr: string, isCA: boolean) => string): PlayedSigner {
  const signed: CertificateSigningRequest[] = []
  let behaviour: 'sign' | 'fail' | 'wait' = 'sign'
  let stopped = false
  const loop = (async () => {
    while (!stopped) {
      for (const object of await api.list<CertificateSigningRequest>(signingRequests))
        await look(object).catch(ignoreGone)
      await sleep(50)
    }
  })()
  return {
    signed,
    behave(as) {
      behaviour = as
    },
    async stop() {
      stopped = true
      await loop
    }
  }

  async function look(object: CertificateSigningRequest): Promise<void> {
    const conditions = object.status?.conditions ?? []
    const types = conditions.map(({ type }) => type)
    const waits = types.includes('Approved') && !types.includes('Failed')
    const { signerName: asked = '', usages } = object.spec
    const ours = [signerName, intermediateSignerName].includes(asked)
    if (!ours || !waits || object.status?.certificate) return
    if (behaviour === 'wait') return
    const failed = {
      reason: 'Broken',
      message: 'the HSM is on fire',
      type: 'Failed',
      status: 'True'
    }
    const csr = Buffer.from(object.spec.request ?? '', 'base64').toString()
    const status =
      behaviour === 'fail'
        ? { conditions: [...conditions, failed] }
        : {
            conditions,
            certificate: Buffer.from(sign(csr, usages?.includes('cert sign') === true)).toString(
              'base64'
            )
          }
    if (behaviour === 'sign') signed.push(object)
    await api.replace(`${signingRequests}/${object.metadata.name}/status`, { ...object, status })
  }

  /** Its owner has taken it away meanwhile. */
  function ignoreGone({ code, message }: ApiFailure): void {
    if (code !== 404 && code !== 409) throw new Error(message)
  }
}

function signingRequest(name: string, csr: string) {
  return {
    ...{ apiVersion: 'certificates.k8s.io/v1', kind: 'CertificateSigningRequest' },
    metadata: { name },
    spec: {
      signerName,
      request: Buffer.from(csr).toString('base64'),
      usages: ['digital signature', 'server auth', 'client auth']
    }
  }
}

/** https://cert-manager.io/docs/usage/kube-csr/: a signer of cert-manager makes a CA of it. */
const noteKey = 'experimental.cert-manager.io/request-is-ca'

function everyRequestIsNoted(): object[] {
  const apiVersion = 'admissionregistration.k8s.io/v1'
  const metadata = { name: 'every-request-is-noted' }
  const rule = {
    ...{ apiGroups: ['certificates.k8s.io'], apiVersions: ['v1'], operations: ['CREATE'] },
    resources: ['certificatesigningrequests']
  }
  const note = `Object{metadata: Object.metadata{annotations: {"${noteKey}": "true"}}}`
  return [
    {
      ...{ apiVersion, kind: 'MutatingAdmissionPolicy', metadata },
      spec: {
        ...{ failurePolicy: 'Fail', reinvocationPolicy: 'Never' },
        matchConstraints: { resourceRules: [rule] },
        mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression: note } }]
      }
    },
    {
      ...{ apiVersion, kind: 'MutatingAdmissionPolicyBinding', metadata },
      spec: { policyName: metadata.name }
    }
  ]
}

function issuer(kind: string): KubernetesObject {
  return {
    ...{ apiVersion: 'cert-manager.io/v1', kind },
    metadata: { name: 'ray-pods', ...(kind === 'Issuer' ? { namespace: own } : {}) },
    spec: { ca: { secretName: 'ray-pods-ca' } }
  } as KubernetesObject
}

/** As many clusters let every user; one by one they would need a right of their own. */
function everybodyMayAsk(): object[] {
  const metadata = { name: 'everybody-may-ask' }
  const apiGroup = 'rbac.authorization.k8s.io'
  const apiVersion = `${apiGroup}/v1`
  const resources = ['certificatesigningrequests']
  return [
    {
      ...{ apiVersion, kind: 'ClusterRole', metadata },
      rules: [{ apiGroups: ['certificates.k8s.io'], resources, verbs: ['create'] }]
    },
    {
      ...{ apiVersion, kind: 'ClusterRoleBinding', metadata },
      roleRef: { apiGroup, kind: 'ClusterRole', name: metadata.name },
      subjects: [{ apiGroup, kind: 'Group', name: 'system:authenticated' }]
    }
  ]
}
