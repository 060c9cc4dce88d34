/** Attacks on the enrollment with tokens, pods and addresses that a real API server vouches for. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import type { KubernetesObject, Pod, RayCluster } from '../../src/kubernetes/objects.ts'
import {
  type ApiFailure,
  apply,
  connect,
  eventually,
  makeNamespace,
  makeToken,
  skip
} from '../support/cluster.ts'
import { checkCertificate } from '../support/cluster-checks.ts'
import { makeIdleCluster, makeIdleHead, makeIdleWorker } from '../support/cluster-idle.ts'
import { kubectl } from '../support/cluster-kubectl.ts'
import { assign, runAgent, showAddress } from '../support/cluster-kubelet.ts'
import { startRayguard } from '../support/cluster-rayguard.ts'
import { ask, type Question } from '../support/cluster-request.ts'
import { sample } from '../support/cluster-samples.ts'

t.test('enrollment against a real API server', { skip }, async t => {
  const api = await connect()
  const folder = t.testdir()
  const rayguard = await startRayguard(api, folder)
  await rayguard.register()
  const namespace = await makeNamespace(api, 'attacked')
  t.teardown(async () => {
    await api.delete(`/api/v1/namespaces/${namespace}`)
    await rayguard.unregister()
    await rayguard.stop()
    api.close()
  })
  const podsPath = `/api/v1/namespaces/${namespace}/pods`
  const [cluster] = await sample('ray-cluster.sample')
  const { spec } = cluster as unknown as {
    spec: { workerGroupSpecs: { replicas: number; minReplicas: number }[] }
  }
  Object.assign(spec.workerGroupSpecs[0] ?? {}, { replicas: 4, minReplicas: 4 })
  await apply(api, namespace, cluster ? [cluster] : [])
  const pods = await eventually('a head and four workers', async () => {
    const found = await api.list<Pod>(podsPath)
    return found.length === 5 && found
  })
  const isHead = ({ metadata }: Pod) => metadata.labels?.['ray.io/node-type'] === 'head'
  const head = pods.find(isHead) as Pod
  const [victim, other, relabelled, doomed] = pods.filter(pod => !isHead(pod)) as [
    Pod,
    Pod,
    Pod,
    Pod
  ]
  const addresses = new Map(
    [head, victim, other, relabelled, doomed].map((pod, index) => [pod, `127.0.80.${index + 1}`])
  )
  const addressOf = (pod: Pod) => addresses.get(pod) ?? ''
  const nameOf = (pod: Pod) => pod.metadata.name ?? ''
  const secrets: string[] = []

  const tokenOf = async (pod: Pod, options: { audience?: string; bound?: boolean } = {}) => {
    const { audience = 'rayguard', bound = true } = options
    const token = await makeToken(api, namespace, 'default', {
      ...(audience === '' ? {} : { audience }),
      ...(bound ? { pod } : {})
    })
    secrets.push(token)
    return token
  }
  /** A request that is right but for what is given. */
  const asked = async (pod: Pod, changes: Partial<Question> = {}) => {
    const address = addressOf(pod)
    const token = changes.token ?? (await tokenOf(pod))
    return ask(rayguard, { podIPs: [address], from: address, ...changes, token })
  }

  await t.test('a pod without an address yet is asked to come again', async t => {
    t.match(await asked(victim), { status: 503, code: 'IPNotVisible' }, 'nothing is signed before')
  })

  for (const pod of [head, victim, other, relabelled, doomed])
    await assign(api, pod, addressOf(pod))

  await t.test('the agent of a worker gets exactly the names of its pod', async t => {
    const [container] = other.spec.initContainers ?? []
    if (container === undefined) throw new Error('the worker has no init container')
    const run = await runAgent(api, other, container, addressOf(other), join(folder, 'other'))
    t.equal(run.exitCode, 0, `the agent has its certificate: ${run.output}`)
    const ca = rayguard.ca.certificate
    checkCertificate(t, { run, pod: other, ca, ip: addressOf(other), dnsNames: [] })
  })

  await t.test('attack: a token that a user made for somebody else’s pod', async t => {
    t.match(
      await asked(victim, { from: '127.0.80.200' }),
      { status: 403, code: 'SourceAddress' },
      'refused from an address that is not the pod’s'
    )
    t.match(
      await asked(victim, { from: addressOf(other) }),
      { status: 403, code: 'SourceAddress' },
      'refused from another pod'
    )
    const [container] = victim.spec.initContainers ?? []
    if (container === undefined) throw new Error('the worker has no init container')
    const run = await runAgent(
      api,
      victim,
      container,
      addressOf(victim),
      join(folder, 'thief'),
      addressOf(other)
    )
    t.not(run.exitCode, 0, 'the agent in the wrong place is refused as well')
    t.notOk(existsSync(join(run.directory, 'tls.crt')), 'and has written nothing')
  })

  await t.test('attack: a token that is not meant for Rayguard, or not bound to a pod', async t => {
    const api401 = await asked(victim, { token: await tokenOf(victim, { audience: '' }) })
    t.equal(api401.status, 401, `the pod’s API token is refused: ${api401.code}`)
    const other401 = await asked(victim, { token: await tokenOf(victim, { audience: 'vault' }) })
    t.equal(other401.status, 401, `a token for another service is refused: ${other401.code}`)
    const unbound = await asked(victim, { token: await tokenOf(victim, { bound: false }) })
    t.equal(unbound.status, 401, `a token without a pod is refused: ${unbound.code}`)
    const [header, payload] = (await tokenOf(victim)).split('.')
    const forged = await asked(victim, { token: `${header}.${payload}.${'A'.repeat(342)}` })
    t.match(forged, { status: 401, code: 'TokenNotAuthenticated' }, 'so is a forged signature')
  })

  await t.test('attack: addresses and names that the pod does not have', async t => {
    t.match(
      await asked(victim, { podIPs: [addressOf(other)] }),
      { status: 503, code: 'IPMismatch' },
      'a claim for another address'
    )
    t.match(
      await asked(victim, { podIPs: [addressOf(victim), addressOf(other)] }),
      { status: 503, code: 'IPMismatch' },
      'a claim for one address more'
    )
    t.match(
      await asked(victim, {
        names: `DNS:head.${namespace}.svc.cluster.local,IP:${addressOf(other)}`
      }),
      { status: 422, code: 'CsrUnexpected' },
      'a request that asks for names'
    )
  })

  await t.test('attack: two live pods that show the same address', async t => {
    const [ip, shared] = [addressOf(victim), addressOf(other)]
    await showAddress(api, victim, shared)
    t.match(
      await eventually('the watch shows both', async () => {
        const reply = await asked(victim, { podIPs: [shared], from: shared })
        return reply.code === 'IPConflict' && reply
      }),
      { status: 503 },
      'neither gets a certificate for it'
    )
    await showAddress(api, victim, ip)
    const reply = await eventually('it is free again', async () => {
      const answer = await asked(victim)
      return answer.status === 201 && answer
    })
    t.equal(reply.code, 'Issued', 'afterwards the pod enrolls')
  })

  await t.test('attack: a second certificate for a pod that runs', async t => {
    await api.patch(`${podsPath}/${nameOf(victim)}/status`, {
      status: {
        phase: 'Running',
        initContainerStatuses: [
          {
            name: 'rayguard-enroll',
            image: rayguard.image,
            imageID: '',
            ready: true,
            restartCount: 0,
            state: { terminated: { exitCode: 0 } }
          }
        ]
      }
    })
    t.match(await asked(victim), { status: 503, code: 'AlreadyEnrolled' }, 'refused')
  })

  await t.test('refusals stand at the RayCluster, where people look', async t => {
    await asked(other, { from: '127.0.80.99' })
    const events = await eventually('the Event', async () => {
      const found = await api.list<KubernetesObject & { reason: string; note: string }>(
        `/apis/events.k8s.io/v1/namespaces/${namespace}/events`
      )
      const ours = found.filter(({ reason }) => reason === 'CertificateRefused')
      return ours.length > 0 && ours
    })
    for (const secret of secrets) t.notMatch(JSON.stringify(events), secret, 'no token is in it')
    const flags = ['--namespace', namespace, 'raycluster', 'raycluster-kuberay']
    t.match(await kubectl(['describe', ...flags]), /CertificateRefused.*SourceAddress/)
  })

  await t.test('attack: a worker that is labelled as the head afterwards', async t => {
    await api.patch(`${podsPath}/${nameOf(relabelled)}`, {
      metadata: { labels: { 'ray.io/node-type': 'head' } }
    })
    const reply = await asked(relabelled)
    t.match(reply, { status: 503, code: 'HeadNotKnown' }, 'it never gets the name of the head')
  })

  await t.test('attack: another image in the place of the agent', async t => {
    const path = `${podsPath}/${nameOf(relabelled)}`
    const pod = await api.get<Pod>(path)
    const [ours, ...rest] = pod.spec.initContainers ?? []
    const initContainers = [{ ...ours, image: 'evil' }, ...rest]
    await api.replace(path, { ...pod, spec: { ...pod.spec, initContainers } })
    t.match(await asked(relabelled), { status: 503, code: 'ImageNotKnown' }, 'no certificate')
  })

  await t.test(
    'attack: a pod of one’s own that names somebody’s RayCluster as its owner',
    async t => {
      const { uid = '' } = (
        await api.get<RayCluster>(
          `/apis/ray.io/v1/namespaces/${namespace}/rayclusters/raycluster-kuberay`
        )
      ).metadata
      const own = async (
        name: string,
        owner?: { uid: string; labels?: Record<string, string> }
      ) => {
        const labels = {
          'ray.io/cluster': 'raycluster-kuberay',
          'ray.io/node-type': 'head',
          ...owner?.labels
        }
        const pod = await api.create<Pod>(podsPath, {
          metadata: {
            name,
            labels,
            ...(owner === undefined
              ? {}
              : {
                  ownerReferences: [
                    {
                      apiVersion: 'ray.io/v1',
                      kind: 'RayCluster',
                      name: 'raycluster-kuberay',
                      uid: owner.uid,
                      controller: true
                    }
                  ]
                })
          },
          spec: { containers: [{ name: 'ray', image: 'ray' }] }
        })
        addresses.set(pod, `127.0.80.${100 + addresses.size}`)
        await assign(api, pod, addressOf(pod))
        return asked(pod)
      }
      t.match(
        await own('no-owner'),
        { status: 403, code: 'RayClusterRequired' },
        'without an owner'
      )
      const wrongCluster = await own('wrong-cluster', {
        uid,
        labels: { 'ray.io/cluster': 'another' }
      })
      t.match(
        wrongCluster,
        { status: 403, code: 'RoleUnknown' },
        'with the label of another cluster'
      )
      // the garbage collector may be quicker at any step: then the pod, its token or its address is gone
      const invented = await own('invented', { uid: '00000000-0000-4000-8000-000000000000' }).catch(
        ({ code }: ApiFailure) => ({ status: code, code: 'Collected', certificate: undefined })
      )
      t.not(invented.status, 201, `with an invented UID: ${invented.code}`)
      t.equal(invented.certificate, undefined, 'and without a certificate')
    }
  )

  await t.test('attack 76: a worker of a RayCluster that nobody runs', async t => {
    const cluster = await makeIdleCluster(api, namespace)
    const worker = await makeIdleWorker(api, cluster)
    addresses.set(worker, '127.0.80.90')
    await assign(api, worker, addressOf(worker))
    for (const _ of [1, 2])
      t.match(await asked(worker), { status: 503, code: 'HeadNotKnown' }, 'no CA is made for it')
    await makeIdleHead(api, cluster)
    const reply = await eventually('the watch shows its head', async () => {
      const answer = await asked(worker)
      return answer.status === 201 && answer
    })
    t.equal(reply.code, 'Issued', 'when its head has come to be it gets its certificate')
  })

  await t.test('attack: the token of a pod that is gone', async t => {
    const token = await tokenOf(doomed)
    t.match(await asked(doomed, { token }), { status: 201 }, 'it is good while the pod lives')
    await api.delete(`${podsPath}/${nameOf(doomed)}?gracePeriodSeconds=0`)
    const reply = await asked(doomed, { token })
    // the API server may have the token in its cache for ten seconds more
    t.ok(
      ['PodNotFound', 'TokenNotAuthenticated'].includes(reply.code),
      `the moment after it is refused: ${reply.code}`
    )
  })

  await t.test('what was said about all this holds no token and no key', async t => {
    const log = await rayguard.log()
    t.match(log, /SourceAddress/, 'the log says why each was refused')
    t.notOk(
      secrets.some(token => log.includes(token) || log.includes(token.split('.')[1] ?? '')),
      'no token is in the log'
    )
    t.notMatch(log, /-----BEGIN|eyJ/, 'nor any key, request or certificate')
  })
})
