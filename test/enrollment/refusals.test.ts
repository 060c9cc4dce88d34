import { execFileSync } from 'node:child_process'
import { sign } from 'node:crypto'
import t from 'tap'
import { AuthorityError } from '../../src/authority/authority.ts'
import { type RefusalCode, refusals } from '../../src/contract/enrollment.ts'
import { enrollContainer, tokenDirectory, tokenVolume } from '../../src/contract/pod.ts'
import type { Container, Pod, RayCluster } from '../../src/kubernetes/objects.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { besideProgram, overProgram } from '../support/enroll-mounts.ts'
import { type EnrollWishes, type Stage, startStage } from '../support/enrollment-stage.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import {
  controllerReference,
  image,
  namespace,
  rayCluster,
  rayPod,
  serviceOf
} from '../support/ray-objects.ts'

/** One attack or mishap: a good pod, what is different about it, and the code that it meets. */
interface Case {
  title: string
  code: RefusalCode
  /** Changes the pod before it is stored; the token is made afterwards. */
  pod?(pod: Pod, stage: Stage): void
  /** Once the pod is stored: what is sent, or what else is done. */
  wishes?(stage: Stage, pod: Pod): EnrollWishes | Promise<EnrollWishes>
  head?: boolean
}

const cluster = rayCluster('demo', { head: { podName: 'nobody', serviceName: 'demo-head-svc' } })
const replay = (claims: Record<string, unknown>): Pick<Case, 'wishes'> => ({
  wishes: () => ({ tokenOptions: { claims } })
})
const ours = (pod: Pod): Container => pod.spec.initContainers?.[0] as Container
const mount = { name: tokenVolume, mountPath: '/somewhere' }

const cases: Case[] = [
  { title: 'no token', code: 'TokenRequired', wishes: () => ({ headers: { authorization: '' } }) },
  {
    title: 'a password instead of a token',
    code: 'TokenRequired',
    wishes: () => ({ headers: { authorization: 'Basic cmF5OmNsdXN0ZXI=' } })
  },
  { title: 'junk as a token', code: 'TokenMalformed', wishes: () => ({ token: 'junk' }) },
  { title: 'three parts of junk', code: 'TokenMalformed', wishes: () => ({ token: 'a.b.c' }) },
  {
    title: 'a token as large as a book',
    code: 'TokenMalformed',
    wishes: () => ({ token: `${'a'.repeat(9000)}.b.c` })
  },
  { title: 'a token of no service account', code: 'TokenMalformed', ...replay({ sub: 'alice' }) },
  { title: 'a token without an end', code: 'TokenMalformed', ...replay({ exp: undefined }) },
  {
    title: 'a token that has expired',
    code: 'TokenExpired',
    wishes: () => ({ tokenOptions: { expirationSeconds: -1 } })
  },
  {
    title: 'attack 2: the default API token of the pod',
    code: 'TokenAudience',
    wishes: () => ({ tokenOptions: { audience: 'https://kubernetes.default.svc' } })
  },
  {
    title: 'attack 4: a token of the service account that is bound to no pod',
    code: 'TokenNotBound',
    ...replay({ 'kubernetes.io': { namespace, serviceaccount: { name: 'ray', uid: 'x' } } })
  },
  {
    title: 'a token that somebody else has signed',
    code: 'TokenNotAuthenticated',
    wishes: (stage, pod) => ({ token: resigned(stage.standIn.issueToken(pod)) })
  },
  {
    title: 'attack 3: the token of a pod that is gone',
    code: 'TokenNotAuthenticated',
    wishes: (stage, pod) => {
      const token = stage.standIn.issueToken(pod)
      stage.standIn.remove(pod)
      return { token }
    }
  },
  {
    title: 'attack 5: the token of a former pod of the same name',
    code: 'TokenNotAuthenticated',
    wishes: (stage, pod) => {
      const token = stage.standIn.issueToken(pod)
      stage.standIn.put({ ...pod, metadata: { ...pod.metadata, uid: 'its-successor' } })
      return { token }
    }
  },
  {
    title: 'attack 3: a pod that is being deleted, within the leeway of its token',
    code: 'PodTerminating',
    pod: pod => {
      pod.metadata.deletionTimestamp = new Date().toISOString()
    }
  },
  {
    title: 'a pod that has finished',
    code: 'PodFinished',
    pod: pod => {
      pod.status = { ...pod.status, phase: 'Failed' }
    }
  },
  {
    title: "attack 17: a pod on its node's network",
    code: 'PodHostNetwork',
    pod: pod => {
      pod.spec.hostNetwork = true
    }
  },
  {
    title: 'attack 15: a token of the pod from another node',
    code: 'PodMismatch',
    wishes: (stage, pod) => ({
      token: stage.standIn.issueToken({ ...pod, spec: { ...pod.spec, nodeName: 'node-2' } })
    })
  },
  {
    title: 'a token of another service account',
    code: 'PodMismatch',
    wishes: (stage, pod) => ({
      token: stage.standIn.issueToken({ ...pod, spec: { ...pod.spec, serviceAccountName: 'x' } })
    })
  },
  {
    title: 'a pod without our init container',
    code: 'PodNotInjected',
    pod: pod => {
      pod.spec.initContainers = null
    }
  },
  {
    title: 'our init container twice',
    code: 'PodNotInjected',
    pod: pod => {
      pod.spec.initContainers?.push({ name: enrollContainer, image: 'evil.test/image' })
    }
  },
  {
    title: 'another command in our init container',
    code: 'PodNotInjected',
    pod: pod => {
      ours(pod).command = ['sh', '-c', 'rayguard enroll']
    }
  },
  {
    title: 'arguments to our init container',
    code: 'PodNotInjected',
    pod: pod => {
      ours(pod).args = ['--help']
    }
  },
  ...overProgram.map(mountPath => ({
    title: `attacks 26, 27: other code mounted over our program: ${mountPath}`,
    code: 'PodNotInjected' as const,
    pod: (pod: Pod) => {
      ours(pod).volumeMounts?.push({ name: 'evil', mountPath })
    }
  })),
  {
    title: 'attacks 26, 27: other code mounted by a link in another volume',
    code: 'PodNotInjected',
    pod: pod => {
      const mounts = ['/links', '/links/x/rayguard'].map(mountPath => ({ name: 'evil', mountPath }))
      ours(pod).volumeMounts?.push(...mounts)
    }
  },
  ...['NODE_OPTIONS', 'LD_PRELOAD', 'PATH', 'OPENSSL_CONF'].map(name => ({
    title: `attacks 26, 27: our program steered by ${name}`,
    code: 'PodNotInjected' as const,
    pod: (pod: Pod) => {
      ours(pod).env = [{ name, value: 'x' }]
    }
  })),
  ...[
    { envFrom: [{ configMapRef: { name: 'evil' } }] },
    { volumeDevices: [{ name: 'evil', devicePath: '/lib/libm.so.6' }] },
    { securityContext: { capabilities: { add: ['SYS_PTRACE'] } } }
  ].map(change => ({
    title: `attacks 26, 27: our init container with ${Object.keys(change)}`,
    code: 'PodNotInjected' as const,
    pod: (pod: Pod) => {
      Object.assign(ours(pod), change)
    }
  })),
  {
    title: 'our init container as a sidecar',
    code: 'PodNotInjected',
    pod: pod => {
      ours(pod).restartPolicy = 'Always'
    }
  },
  {
    title: 'attack 27: another image in our init container',
    code: 'ImageNotKnown',
    pod: pod => {
      ours(pod).image = `evil.test/${image}`
    }
  },
  {
    title: 'attack 26: the Ray container mounts the token',
    code: 'PodNotInjected',
    pod: pod => {
      ;(pod.spec.containers[0] as Container).volumeMounts = [mount]
    }
  },
  {
    title: 'attack 26: another init container mounts the token',
    code: 'PodNotInjected',
    pod: pod => {
      pod.spec.initContainers?.unshift({ name: 'spy', volumeMounts: [mount] })
    }
  },
  {
    title: 'attack 26: an ephemeral container mounts the token',
    code: 'PodNotInjected',
    pod: pod => {
      pod.spec.ephemeralContainers = [{ name: 'debugger', volumeMounts: [mount] }]
    }
  },
  {
    title: 'the token mounted elsewhere',
    code: 'PodNotInjected',
    pod: pod => {
      ours(pod).volumeMounts = [mount]
    }
  },
  {
    title: 'the token mounted by a sub-path',
    code: 'PodNotInjected',
    pod: pod => {
      ours(pod).volumeMounts = [{ ...mount, mountPath: tokenDirectory, subPath: 'x' }]
    }
  },
  {
    title: "attack 23: a volume of the token's name with another source",
    code: 'PodNotInjected',
    pod: pod => {
      pod.spec.volumes = [{ name: tokenVolume, emptyDir: {} }]
    }
  },
  {
    title: 'the token and a secret in one volume',
    code: 'PodNotInjected',
    pod: pod => {
      pod.spec.volumes?.[0]?.projected?.sources?.push({ secret: {} })
    }
  },
  {
    title: 'attack 69: a user with an own token of a pod that has its certificate',
    code: 'AlreadyEnrolled',
    pod: pod => {
      pod.status = {
        ...pod.status,
        initContainerStatuses: [{ name: enrollContainer, state: { terminated: { exitCode: 0 } } }]
      }
    }
  },
  {
    title: 'attack 69: a user with an own token of a waiting pod, from elsewhere',
    code: 'SourceAddress',
    wishes: () => ({ from: '127.0.0.1' })
  },
  {
    title: 'attack 1: a stolen token from another pod, with a forged X-Forwarded-For',
    code: 'SourceAddress',
    wishes: (_, pod) => ({
      from: '127.0.0.1',
      headers: {
        'x-forwarded-for': pod.status?.podIP ?? '',
        forwarded: `for=${pod.status?.podIP}`,
        'x-real-ip': pod.status?.podIP ?? ''
      }
    })
  },
  {
    title: 'attack 14: a pod without an address',
    code: 'IPNotVisible',
    pod: pod => {
      pod.status = { phase: 'Pending' }
    },
    wishes: () => ({ podIPs: ['127.0.0.1'], from: '127.0.0.1' })
  },
  {
    title: 'an address that no pod can have',
    code: 'IPNotVisible',
    pod: pod => {
      pod.status = { podIPs: [{ ip: '224.0.0.1' }] }
    },
    wishes: () => ({ podIPs: ['224.0.0.1'], from: '127.0.0.1' })
  },
  {
    title: 'attack 13: the API still shows the former address',
    code: 'IPMismatch',
    wishes: () => ({ podIPs: ['127.9.9.9'] })
  },
  {
    title: 'one address too many',
    code: 'IPMismatch',
    wishes: (_, pod) => ({ podIPs: [pod.status?.podIP, '127.9.9.9'] })
  },
  {
    title: 'what is not an address',
    code: 'BadRequest',
    wishes: () => ({ podIPs: ['10.0.0.0/8'] })
  },
  {
    title: 'attack 12: an address that another live pod holds',
    code: 'IPConflict',
    wishes: async (stage, pod) => {
      const ip = pod.status?.podIP ?? ''
      await stage.run(rayPod({ name: `${pod.metadata.name}-twin`, ips: ['fd00::1', ip] }))
      return {}
    }
  },
  {
    title: 'a pod of nobody',
    code: 'RayClusterRequired',
    pod: pod => {
      pod.metadata.ownerReferences = null
    }
  },
  {
    title: 'a pod of a Job',
    code: 'RayClusterRequired',
    pod: pod => {
      pod.metadata.ownerReferences = [
        {
          apiVersion: 'batch/v1',
          kind: 'Job',
          name: 'demo',
          uid: 'demo-cluster-uid',
          controller: true
        }
      ]
    }
  },
  {
    title: 'attack 20: an owner that does not control',
    code: 'RayClusterRequired',
    pod: pod => {
      pod.metadata.ownerReferences = [{ ...controllerReference(cluster), controller: false }]
    }
  },
  {
    title: 'a RayCluster of another group',
    code: 'RayClusterRequired',
    pod: pod => {
      pod.metadata.ownerReferences = [{ ...controllerReference(cluster), apiVersion: 'evil.io/v1' }]
    }
  },
  {
    title: 'attack 20: an owner that does not exist',
    code: 'RayClusterNotFound',
    pod: pod => {
      pod.metadata.ownerReferences = [{ ...controllerReference(cluster), name: 'other' }]
    }
  },
  {
    title: 'attack 20: an owner whose name leads to another path',
    code: 'RayClusterNotFound',
    pod: pod => {
      pod.metadata.ownerReferences = [{ ...controllerReference(cluster), name: '..' }]
    }
  },
  {
    title: 'attack 20: an owner of that name with another UID',
    code: 'RayClusterNotFound',
    pod: pod => {
      pod.metadata.ownerReferences = [{ ...controllerReference(cluster), uid: 'invented' }]
    }
  },
  {
    title: 'a RayCluster that is being deleted',
    code: 'RayClusterNotFound',
    pod: (pod, stage) => {
      const gone = rayCluster('going')
      gone.metadata.deletionTimestamp = new Date().toISOString()
      stage.standIn.put(gone)
      pod.metadata.ownerReferences = [controllerReference(gone)]
    }
  },
  {
    title: 'attack 18: the label of another cluster',
    code: 'RoleUnknown',
    pod: pod => {
      pod.metadata.labels = { 'ray.io/cluster': 'victim', 'ray.io/node-type': 'worker' }
    }
  },
  {
    title: 'a pod without labels',
    code: 'RoleUnknown',
    pod: pod => {
      pod.metadata.labels = null
    }
  },
  {
    title: 'a pod that cleans Redis',
    code: 'RoleUnknown',
    pod: pod => {
      pod.metadata.labels = { 'ray.io/cluster': 'demo', 'ray.io/node-type': 'redis-cleanup' }
    }
  },
  { title: 'attack 19: a worker whose label says head', code: 'HeadNotKnown', head: true },
  {
    title: 'a head before its RayCluster names any',
    code: 'HeadNotKnown',
    head: true,
    pod: (pod, stage) => owned(pod, stage, rayCluster('young'))
  },
  {
    title: 'attack 19: a worker whose label says head, under an operator that names addresses only',
    code: 'HeadNotKnown',
    head: true,
    pod: (pod, stage) => owned(pod, stage, rayCluster('old', { head: { podIP: '127.9.9.9' } }))
  },
  {
    title: 'a head without its Service',
    code: 'HeadServiceNotKnown',
    head: true,
    pod: (pod, stage) =>
      owned(pod, stage, rayCluster('bare', { head: { podName: pod.metadata.name ?? '' } }))
  },
  {
    title: "attack 72: the Service of another cluster as one's own head's",
    code: 'HeadServiceNotKnown',
    head: true,
    pod: (pod, stage) => {
      const mine = rayCluster('mine', {
        head: { podName: pod.metadata.name ?? '', serviceName: 'demo-head-svc' }
      })
      mine.spec = { headGroupSpec: { headService: { metadata: { name: 'demo-head-svc' } } } }
      owned(pod, stage, mine)
    }
  },
  {
    title: 'attack 72: a wildcard as the name of the head service',
    code: 'HeadServiceNotKnown',
    head: true,
    pod: (pod, stage) => {
      const mine = rayCluster('wild', {
        head: { podName: pod.metadata.name ?? '', serviceName: '*' }
      })
      mine.spec = { headGroupSpec: { headService: { metadata: { name: '*' } } } }
      stage.standIn.put(serviceOf(mine, '*'))
      owned(pod, stage, mine)
    }
  },
  { title: 'junk as a certificate request', code: 'CsrMalformed', wishes: () => ({ csr: 'junk' }) },
  {
    title: 'attack 8: a certificate request with a signature of another key',
    code: 'CsrSignature',
    wishes: () => ({ csr: badlySigned() })
  },
  {
    title: 'attack 6: a certificate request that asks for names',
    code: 'CsrUnexpected',
    wishes: () => ({
      names: { dnsNames: ['victim-head-svc.team-a.svc.cluster.local'], ipAddresses: [] }
    })
  },
  {
    title: 'attack 9: a key of 1024 bits',
    code: 'KeyNotAllowed',
    wishes: () => ({ csr: weakRequest() })
  },
  {
    title: 'attack 10: the key of another pod',
    code: 'KeyReused',
    wishes: async stage => {
      const csr = createCertificateRequest(newKey())
      const other = await stage.run(rayPod({ name: 'first-with-the-key', ips: ['127.3.0.1'] }))
      await stage.enroll(other, { csr })
      return { csr }
    }
  },
  {
    title: 'an API server that does not answer a review',
    code: 'ApiUnavailable',
    wishes: stage => faulty(stage, '/apis/authentication.k8s.io/v1/tokenreviews', { status: 500 })
  },
  {
    title: 'an API server without the right to read RayClusters',
    code: 'ApiUnavailable',
    wishes: stage =>
      faulty(stage, '/apis/ray.io/v1/namespaces/team-a/rayclusters/demo', { status: 403 })
  },
  {
    title: 'attack 2: an API server that does not know audiences',
    code: 'TokenAudience',
    wishes: (stage, pod) => reviewed(stage, pod, { audiences: undefined })
  },
  {
    title: 'attack 4: a review that names two pods',
    code: 'TokenNotBound',
    wishes: (stage, pod) =>
      reviewed(stage, pod, { extra: { 'authentication.kubernetes.io/pod-name': ['a', 'b'] } })
  },
  {
    title: 'attack 4: a review with two UIDs of the pod',
    code: 'TokenNotBound',
    wishes: (stage, pod) =>
      reviewed(stage, pod, {
        extra: { 'authentication.kubernetes.io/pod-uid': [pod.metadata.uid ?? '', 'b'] }
      })
  },
  {
    title: 'a review with an error beside its yes',
    code: 'TokenNotAuthenticated',
    wishes: (stage, pod) => reviewed(stage, pod, { error: 'but' })
  },
  {
    title: 'a review of a user',
    code: 'TokenNotBound',
    wishes: (stage, pod) => reviewed(stage, pod, { username: 'alice' })
  },
  {
    title: 'a review of a user who is called like a service account',
    code: 'TokenNotBound',
    wishes: (stage, pod) => reviewed(stage, pod, { groups: ['system:authenticated'] })
  },
  {
    title: 'a review that names two nodes',
    code: 'TokenNotBound',
    wishes: (stage, pod) =>
      reviewed(stage, pod, { extra: { 'authentication.kubernetes.io/node-name': ['a', 'b'] } })
  },
  {
    title: 'attack 3: the token of a pod that is gone, from the cache of the API server',
    code: 'PodNotFound',
    wishes: async (stage, pod) => {
      const wishes = await reviewed(stage, pod, {})
      stage.standIn.remove(pod)
      return wishes
    }
  },
  {
    title:
      'attack 5: a pod of the same name, with the former token from the cache of the API server',
    code: 'PodMismatch',
    wishes: async (stage, pod) => {
      const wishes = await reviewed(stage, pod, {})
      stage.standIn.put({ ...pod, metadata: { ...pod.metadata, uid: 'its-successor' } })
      return wishes
    }
  },
  {
    title: 'an authority that is away',
    code: 'AuthorityUnavailable',
    wishes: stage =>
      bent(stage, () => {
        throw new AuthorityError('Unavailable', 'closed on Sundays')
      })
  },
  {
    title: 'an authority whose approver says no',
    code: 'AuthorityDenied',
    wishes: stage =>
      bent(stage, () => {
        throw new AuthorityError('Denied', 'not this pod')
      })
  },
  {
    title: 'attack 76: an authority that has no CA for a RayCluster without a head',
    code: 'HeadNotKnown',
    wishes: stage =>
      bent(stage, () => {
        throw new AuthorityError('TooEarly', 'nobody is there')
      })
  },
  {
    title: 'an authority that fails oddly',
    code: 'AuthorityUnavailable',
    wishes: stage =>
      bent(stage, () => {
        throw new TypeError('odd')
      })
  },
  {
    title: 'an authority that adds a name',
    code: 'AuthorityUnavailable',
    wishes: stage =>
      bent(stage, request => ({
        ...request,
        names: { ...request.names, dnsNames: ['localhost', 'extra.test'] }
      }))
  },
  {
    title: 'an authority that signs for years',
    code: 'AuthorityUnavailable',
    wishes: stage => bent(stage, request => ({ ...request, lifetimeSeconds: 30 * 24 * 3600 }))
  },
  {
    title: 'an authority that signs for minutes',
    code: 'AuthorityUnavailable',
    wishes: stage => bent(stage, request => ({ ...request, lifetimeSeconds: 600 }))
  },
  {
    title: 'an authority that signs another key',
    code: 'AuthorityUnavailable',
    wishes: stage => {
      const { publicKey } = makeKeyPairSync()
      const other = publicKey.export({ type: 'spki', format: 'der' })
      return bent(stage, request => ({ ...request, publicKey: other }))
    }
  },
  {
    title: 'an authority that takes the names from the request',
    code: 'NamesRequired',
    wishes: stage => {
      stage.authority.namesFrom = 'request'
      return {}
    }
  },
  {
    title: 'attack 6: other names than those that were told',
    code: 'NamesMismatch',
    wishes: (stage, pod) => {
      stage.authority.namesFrom = 'request'
      return {
        names: {
          dnsNames: ['localhost', 'demo-head-svc.team-a.svc.cluster.local'],
          ipAddresses: ['127.0.0.1', '::1', pod.status?.podIP ?? '']
        }
      }
    }
  }
]

t.test('each refusal has its code, status and time, and nothing is signed', async t => {
  const stage = await startStage({ quota: { perPod: 20, perNamespace: 1000 } })
  t.teardown(stage.close)
  stage.standIn.put(cluster)
  stage.standIn.put(serviceOf(cluster, 'demo-head-svc'))
  for (const [at, one] of cases.entries()) {
    const name = `pod-${at}`
    const pod = rayPod({
      name,
      cluster,
      node: one.head ? 'head' : 'worker',
      ips: [`127.2.0.${at + 1}`]
    })
    one.pod?.(pod, stage)
    const stored = await stage.run(pod)
    const wishes = (await one.wishes?.(stage, stored)) ?? {}
    const before = stage.observed.length
    const { status, headers, body } = await stage.enroll(stored, wishes)
    stage.standIn.interfere(undefined)
    stage.authority.bend = undefined
    stage.authority.namesFrom = 'server'
    const expected = refusals[one.code]
    const reason = JSON.stringify(stage.observed[before]?.outcome)
    t.equal(body.code, one.code, `${one.title}: ${reason}`)
    t.equal(status, expected.status, `${one.title}: its status`)
    t.equal(body.message, expected.text, `${one.title}: its public text and no more`)
    t.ok(body.requestId, `${one.title}: names the line of the log`)
    t.equal(
      headers['retry-after'] !== undefined,
      status === 503,
      `${one.title}: says when to come again`
    )
    t.notOk('certificate' in body, `${one.title}: holds no certificate`)
    stage.standIn.remove(stored)
  }
})

t.test('attack 74: what platforms add to our init container keeps no pod out', async t => {
  const stage = await startStage()
  t.teardown(() => stage.close())
  stage.standIn.put(cluster)
  const pod = rayPod({ cluster, ips: ['127.2.1.1'] })
  const names = ['AWS_ROLE_ARN', 'KUBERNETES_SERVICE_HOST', 'HTTPS_PROXY', 'RAYGUARD_OF_LATER']
  ours(pod).env = names.map(name => ({ name, value: 'x' }))
  ours(pod).volumeMounts?.push(
    ...besideProgram.map(mountPath => ({ name: 'platform', mountPath, readOnly: true }))
  )
  const { status, body } = await stage.enroll(await stage.run(pod))
  t.equal(status, 201, `it has its certificate: ${body.code}`)
})

t.test('every code of the contract that this server gives is tried', async t => {
  const elsewhere: RefusalCode[] = ['QuotaExceeded', 'NotReady', 'LifetimeLabel']
  const tried = new Set([...cases.map(({ code }) => code), ...elsewhere])
  for (const code of Object.keys(refusals)) t.ok(tried.has(code as RefusalCode), code)
})

function owned(pod: Pod, stage: Stage, owner: RayCluster): void {
  stage.standIn.put(owner)
  pod.metadata.ownerReferences = [controllerReference(owner)]
  pod.metadata.labels = { ...pod.metadata.labels, 'ray.io/cluster': owner.metadata.name ?? '' }
}

function resigned(token: string): string {
  const input = token.split('.').slice(0, 2).join('.')
  const { privateKey } = makeKeyPairSync()
  const signature = sign('sha256', Buffer.from(input), {
    key: privateKey,
    dsaEncoding: 'ieee-p1363'
  })
  return `${input}.${signature.toString('base64url')}`
}

/** RSA with 1024 bits, as no code of ours writes it. */
function weakRequest(): string {
  const options = ['req', '-new', '-newkey', 'rsa:1024', '-nodes', '-keyout', '/dev/null']
  return execFileSync('openssl', [...options, '-subj', '/'], { stdio: 'pipe' }).toString('utf8')
}

/** The last byte of the signature changed. */
function badlySigned(): string {
  const pem = createCertificateRequest(newKey())
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  der[der.length - 1] = (der.at(-1) ?? 0) ^ 1
  const text = der.toString('base64').replace(/(.{64})(?=.)/g, '$1\n')
  return `-----BEGIN CERTIFICATE REQUEST-----\n${text}\n-----END CERTIFICATE REQUEST-----\n`
}

function faulty(stage: Stage, path: string, fault: { status: number }): EnrollWishes {
  stage.standIn.interfere(request => (request.path === path ? fault : undefined))
  return {}
}

function bent(stage: Stage, bend: NonNullable<Stage['authority']['bend']>): EnrollWishes {
  stage.authority.bend = bend
  return {}
}

/** A review as the API server would give it, with parts of it replaced. */
function reviewed(
  stage: Stage,
  pod: Pod,
  parts: {
    audiences?: string[] | undefined
    error?: string
    username?: string
    groups?: string[]
    extra?: Record<string, string[]>
  }
): EnrollWishes {
  const token = stage.standIn.issueToken(pod)
  const honest = stage.standIn.tokens.review(token, ['rayguard'])
  const { audiences, error, username, groups, extra } = { ...honest, ...honest.user, ...parts }
  const status = {
    ...honest,
    audiences,
    error,
    user: { ...honest.user, username, groups, extra: { ...honest.user?.extra, ...extra } }
  }
  stage.standIn.interfere(({ path }) =>
    path.endsWith('/tokenreviews') ? { status: 201, body: { status } } : undefined
  )
  return { token }
}

t.test('the digest of a refused token is kept for seconds, the API is asked once', async t => {
  const stage = await startStage()
  t.teardown(stage.close)
  stage.standIn.put(cluster)
  const pod = await stage.run(rayPod({ cluster, ips: ['127.0.0.2'] }))
  const token = resigned(stage.standIn.issueToken(pod))
  for (let attempt = 0; attempt < 10; attempt++) {
    const { body } = await stage.enroll(pod, { token })
    t.equal(body.code, 'TokenNotAuthenticated', 'it is refused each time')
  }
  const reviews = stage.standIn.requests.filter(line => line.includes('tokenreviews'))
  t.equal(reviews.length, 1, 'attack 45: ten junk tokens are one review')
  for (let attempt = 0; attempt < 30; attempt++) await stage.enroll(pod, { token })
  const { body } = await stage.enroll(pod, { token })
  t.equal(body.code, 'QuotaExceeded', 'attack 44: one token cannot be shown without end')
})
