/** A CA for each RayCluster, with real Ray: who is let in, and what a renewal and a change of the setting leave whole. */
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { entryIn, secretOf } from '../../src/authority/per-cluster/entries.ts'
import type { KubernetesObject, Pod, Secret } from '../../src/kubernetes/objects.ts'
import { apply, type ClusterApi, eventually } from '../support/cluster.ts'
import { heldBy, idleWorker, makeIdleCluster, makeIdleHead } from '../support/cluster-idle.ts'
import { forSmallNode, install, remove, withSettings } from '../support/cluster-install.ts'
import { execute, kubectl, run } from '../support/cluster-kubectl.ts'
import { part } from '../support/cluster-part.ts'
import { rayCluster, rayVersion, readyRayPods, runJob, scaled } from '../support/cluster-ray.ts'
import { nameOf, restart, rolledOut, systemNamespace } from '../support/cluster-replicas.ts'

const tls = '/etc/rayguard/tls'

part('trust', async (t, { api, namespace }) => {
  await remove()
  const folder = t.testdir()
  await install(t, folder, yaml =>
    withSettings(forSmallNode(yaml), { trust: 'perCluster', lifetime: '18m' })
  )
  const [mine, other] = [await namespace('trust-a'), await namespace('trust-b')]
  await apply(api, mine, [rayCluster('demo', 1)])
  const pods = await readyRayPods(api, mine, 2)
  const stranger = await idlePodWithRay(api, other)
  const isHead = (pod: KubernetesObject) => pod.metadata.labels?.['ray.io/node-type'] === 'head'
  const [head = ''] = pods.filter(isHead).map(nameOf)
  const [worker = ''] = pods.filter(pod => !isHead(pod)).map(nameOf)
  const anchorOf = async (pod: string) =>
    (await execute(mine, pod, 'cat', `${tls}/ca.crt`)).stdout.trim()
  const uid = (await rayClusterIn(api, mine)).metadata.uid ?? ''
  const stored = async () => {
    const path = `/api/v1/namespaces/${systemNamespace}/secrets/${secretOf(mine)}`
    const entry = entryIn((await api.get<Secret>(path)).data ?? {}, uid)
    return typeof entry === 'object' && entry.trust === 'perCluster' ? entry.certificate.trim() : ''
  }

  await t.test('attack 52: a pod of another cluster under the same CA is not let in', async t => {
    const host = `demo-head-svc.${mine}.svc.cluster.local`
    const check = (from: string, pod: string, ...variables: string[]) =>
      execute(
        ...([from, pod, 'env', ...variables, 'timeout', '100'] as const),
        ...['ray', 'health-check', '--address', `${host}:6379`]
      )
    const refusal = async (files: { ca: string; own: string }) => {
      const parameters = [
        host,
        `${files.ca}/ca.crt`,
        `${files.own}/tls.crt`,
        `${files.own}/tls.key`
      ]
      const { stdout, stderr } = await execute(
        ...([other, stranger, 'python3', '-c', handshake, ...parameters] as const)
      )
      return stdout.trim() || stderr.slice(-300)
    }
    t.equal(await anchorOf(worker), await anchorOf(head), 'head and worker trust the same')
    const theirs = '/tmp/theirs'
    await copyFiles([mine, worker], [other, stranger], theirs)
    const [own, foreign, trusting] = await Promise.all([
      check(mine, worker),
      check(other, stranger),
      check(other, stranger, `RAY_TLS_CA_CERT=${theirs}/ca.crt`)
    ])
    t.equal(own.code, 0, `a worker of the cluster is: ${own.stderr.slice(-300)}`)
    t.not(foreign.code, 0, 'a pod of the other does not trust the head')
    t.not(trusting.code, 0, 'and when it does, the head does not trust it')

    t.equal(await refusal({ ca: tls, own: tls }), 'CERTIFICATE_VERIFY_FAILED', 'for its CA')
    t.equal(await refusal({ ca: theirs, own: tls }), 'closed', 'for its own certificate alone')
    t.equal(await refusal({ ca: theirs, own: theirs }), 'h2', 'it gets there all the same')
    const control = await check(
      ...([other, stranger, `RAY_TLS_CA_CERT=${theirs}/ca.crt`] as const),
      ...[`RAY_TLS_SERVER_CERT=${theirs}/tls.crt`, `RAY_TLS_SERVER_KEY=${theirs}/tls.key`]
    )
    t.equal(
      control.code,
      0,
      `with the files of a worker it is let in: ${control.stderr.slice(-300)}`
    )
    await execute(other, stranger, 'rm', '-r', theirs)
  })

  await t.test('a renewal of its CA leaves a running cluster whole', async t => {
    const former = await stored()
    t.equal(await anchorOf(head), former, 'the CA is the anchor of its pods')
    await untilRenewable(former)
    // longer lives make the CA too short, and it is renewed
    await settings(folder, { trust: 'perCluster', lifetime: '2d' })
    const renewed = await eventually('it is renewed', async () => {
      const found = await stored()
      return found !== former && found
    })
    await joins(t, api, mine, { head, workers: 2, gone: [] })
    const all = await readyRayPods(api, mine, 3)
    const [added = ''] = all.map(nameOf).filter(name => ![head, worker].includes(name))
    t.equal(await anchorOf(added), renewed, 'the new worker has the new certificate')
    t.equal(await anchorOf(worker), former, 'the others go on with the former one')
  })

  await t.test('a change to one CA for all waits until its pods are gone', async t => {
    const renewed = await stored()
    await settings(folder, { trust: 'shared', lifetime: '2d' })
    await kubectl(['-n', mine, 'delete', 'pod', worker])
    await joins(t, api, mine, { head, workers: 2, gone: [worker] })
    const all = (await readyRayPods(api, mine, 3)).map(nameOf)
    const anchors = await Promise.all(all.map(anchorOf))
    t.equal(
      anchors.filter(anchor => anchor === renewed).length,
      2,
      'the new worker is with the old'
    )
  })
  await remove()
})

/** A pod of another RayCluster that has a certificate and Ray's programs, and runs none of them: two heads are too much here. */
async function idlePodWithRay(api: ClusterApi, namespace: string): Promise<string> {
  const cluster = await makeIdleCluster(api, namespace)
  await makeIdleHead(api, cluster)
  const pod = idleWorker(cluster) as Pod
  const [container] = pod.spec.containers
  Object.assign(container ?? {}, {
    image: `rayproject/ray:${rayVersion}`,
    command: ['sleep', 'infinity'],
    resources: { requests: { cpu: '10m', memory: '64Mi' }, limits: { cpu: '1', memory: '1Gi' } }
  })
  const name = nameOf(await api.create<Pod>(`/api/v1/namespaces/${namespace}/pods`, pod))
  await heldBy(api, namespace, name)
  return name
}

async function rayClusterIn(api: ClusterApi, namespace: string): Promise<KubernetesObject> {
  return api.get<KubernetesObject>(`/apis/ray.io/v1/namespaces/${namespace}/rayclusters/demo`)
}

/**
 * Says `h2` where the head of a Ray cluster goes on after the handshake, `closed` where it does not, and why this side does
 * not. Whatever else goes wrong, such as a name that is not found, is none of these.
 */
const handshake = `
import socket, ssl, sys
host, ca, certificate, key = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
# the CA of a RayCluster is below another, which pods do not have
context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
context.load_cert_chain(certificate, key)
context.set_alpn_protocols(['h2'])
try:
    with socket.create_connection((host, 6379), 30) as plain:
        with context.wrap_socket(plain, server_hostname=host) as connection:
            # with TLS 1.3 the server looks at the certificate of the client after this side is through; gRPC sends no alert
            print(connection.selected_alpn_protocol() if connection.recv(9) else 'closed')
except ssl.SSLError as error:
    print(error.reason)
except ConnectionResetError:
    print('closed')
`

/** Attack: what a thief of the files could do. They are never shown. */
async function copyFiles(
  [fromNamespace, from]: [string, string],
  [toNamespace, to]: [string, string],
  folder: string
): Promise<void> {
  for (const name of ['ca.crt', 'tls.crt', 'tls.key']) {
    const { code, stdout } = await execute(fromNamespace, from, 'cat', `${tls}/${name}`)
    if (code !== 0) throw new Error(`${name} of ${from} cannot be read`)
    const write = `umask 077; mkdir -p ${folder} && cat >${folder}/${name}`
    await kubectl(['-n', toNamespace, 'exec', '-i', to, '--', 'sh', '-c', write], stdout)
  }
}

/** One that was made a moment ago is not made again: an eighth of its life has to pass. */
async function untilRenewable(pem: string): Promise<void> {
  const { validFrom, validTo } = new X509Certificate(pem)
  const [from, to] = [Date.parse(validFrom), Date.parse(validTo)]
  await sleep(Math.max(0, from + (to - from) / 8 + 5_000 - Date.now()))
}

async function settings(
  folder: string,
  wanted: { trust: 'perCluster' | 'shared'; lifetime: string }
): Promise<void> {
  const image = process.env.RAYGUARD_TEST_IMAGE ?? 'localhost/rayguard:test'
  const { code, stdout, stderr } = await run('manifests/prepare', [
    image,
    join(folder, 'certificates')
  ])
  if (code !== 0) throw new Error(`prepare: ${stderr}`)
  await kubectl(['apply', '-f', '-'], withSettings(forSmallNode(stdout), wanted))
  await restart('enrollment')
  await rolledOut('enrollment')
}

/** So many workers are ready, and a job runs on all of them and the head. */
async function joins(
  t: Test,
  api: ClusterApi,
  namespace: string,
  { head, workers, gone }: { head: string; workers: number; gone: string[] }
): Promise<void> {
  await scaled(api, namespace, { name: 'demo', workers, gone })
  const { output } = await runJob(namespace, head)
  t.match(output, new RegExp(`hosts: ${workers + 1}`), `all take part: ${output.slice(-300)}`)
}
