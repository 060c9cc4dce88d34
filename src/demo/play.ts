/**
 * The demonstration: a head and two workers get their patch and their certificates and talk to each other; then three
 * attacks are tried and refused. Every claim is checked; a claim that does not hold makes the whole fail.
 */
import { X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import jsonpatch, { type Operation } from 'fast-json-patch'
import { certificatesPath } from '../contract/enrollment.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { diffOfPods } from '../preview/diff.ts'
import { makeKeyPairSync } from '../x509/new-key.ts'
import { createCertificateRequest } from '../x509/request.ts'
import { greet, greetInPlainText, listen, peerOf } from './handshake.ts'
import { post } from './http.ts'
import { type RunningPod, runInitContainer } from './kubelet.ts'
import type { Narrator } from './narrator.ts'
import {
  demoCluster,
  demoNamespace,
  headName,
  headPod,
  headServiceOf,
  namespaceOf,
  rayCluster,
  workerPod
} from './pods.ts'
import type { Stage } from './stage.ts'

export interface Cast {
  stage: Stage
  narrator: Narrator
  /** Head, two workers, a worker of another cluster, and one that plays the intruder. */
  addresses: [string, string, string, string, string]
}

export async function play(cast: Cast): Promise<void> {
  const { stage, narrator } = cast
  stage.standIn.put(namespaceOf(demoNamespace))
  stage.standIn.put(namespaceOf('team-b'))
  const cluster = stage.standIn.put(rayCluster('11111111-0000-4000-8000-000000000001'))
  stage.standIn.put(headServiceOf(cluster))

  narrator.heading('1. The API server asks about each pod that KubeRay creates')
  const head = await admitted(cast, headPod(cluster), `${demoCluster}-head-4x7hq`, true)
  const workers = [
    await admitted(cast, workerPod(cluster), `${demoCluster}-small-worker-9kd2c`, true),
    await admitted(cast, workerPod(cluster), `${demoCluster}-small-worker-tz5mv`, false)
  ]
  narrator.expect(
    isDeepStrictEqual(workers[0]?.spec, workers[1]?.spec),
    'the second worker gets the same patch'
  )

  narrator.heading('2. Each pod makes its own key and enrolls (the agent runs as a process)')
  const running: RunningPod[] = []
  for (const [index, pod] of [head, ...workers].entries()) {
    running.push(await started(cast, pod, cast.addresses[index] ?? '', pod === head))
  }
  for (const pod of running) await showCertificate(cast, pod)
  if (narrator.failures > 0) return

  narrator.heading('3. The pods talk to each other over mutual TLS')
  await talk(cast, running)

  narrator.heading(
    '4. A pod of another Ray cluster, certified under the same CA, knocks at the head'
  )
  await knock(cast, running)

  narrator.heading('5. What an intruder tries')
  await attack(cast, running)
}

/** Sends the pod through admission, applies the patch, and stores it as the API server would. */
async function admitted(cast: Cast, pod: Pod, name: string, shown: boolean): Promise<Pod> {
  const { stage, narrator } = cast
  const { status, body } = await post(`${stage.webhookUrl}/mutate`, review(pod), {
    ca: stage.serverCa
  })
  const answer = body.response as
    | { allowed: boolean; patch?: string; status?: { message?: string } }
    | undefined
  narrator.expect(
    status === 200 && answer?.allowed === true && answer.patch !== undefined,
    `${name} is admitted with a patch`,
    answer?.status?.message
  )
  const operations = JSON.parse(
    Buffer.from(answer?.patch ?? 'W10=', 'base64').toString('utf8')
  ) as Operation[]
  const patched = jsonpatch.applyPatch(structuredClone(pod), operations, true, false).newDocument
  if (shown) narrator.diff(diffOfPods(pod, patched, name))
  return stage.standIn.put({
    ...patched,
    metadata: { ...patched.metadata, name },
    spec: { ...patched.spec, nodeName: 'node-1' }
  })
}

function review(pod: Pod): object {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: '22222222-0000-4000-8000-000000000002',
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      requestKind: { group: '', version: 'v1', kind: 'Pod' },
      requestResource: { group: '', version: 'v1', resource: 'pods' },
      namespace: pod.metadata.namespace,
      operation: 'CREATE',
      userInfo: { username: 'system:serviceaccount:kuberay-system:kuberay-operator' },
      object: pod,
      oldObject: null,
      dryRun: false,
      options: { apiVersion: 'meta.k8s.io/v1', kind: 'CreateOptions' }
    }
  }
}

/** Plays scheduler and kubelet: an address, a token, the init container. */
async function started(
  cast: Cast,
  pod: Pod,
  address: string,
  isHead: boolean
): Promise<RunningPod> {
  const { stage, narrator } = cast
  const placed = stage.standIn.put({
    ...pod,
    status: { phase: 'Pending', podIP: address, podIPs: [{ ip: address }] }
  })
  if (isHead) {
    const cluster = rayCluster(pod.metadata.ownerReferences?.[0]?.uid ?? '')
    stage.standIn.put({
      ...cluster,
      status: {
        head: { ...cluster.status?.head, podName: pod.metadata.name ?? '', podIP: address }
      }
    })
  }
  const running = await runInitContainer(placed, {
    directory: stage.directory,
    program: stage.program,
    address,
    issueToken: asked => stage.standIn.issueToken(asked)
  })
  narrator.expect(running.exitCode === 0, `${pod.metadata.name} at ${address} has enrolled`)
  if (running.exitCode !== 0) narrator.note(running.log)
  return running
}

async function showCertificate(
  { narrator }: Cast,
  { pod, address, files }: RunningPod
): Promise<void> {
  const certificate = new X509Certificate(await readFile(files.certificate))
  narrator.note('')
  narrator.note(`${pod.metadata.name}: serial ${certificate.serialNumber.toLowerCase()}`)
  narrator.note(`  names ${certificate.subjectAltName}`)
  narrator.note(`  until ${certificate.validTo}`)
  narrator.expect(certificate.checkIP(address) !== undefined, 'its own address is among the names')
  const isHead = pod.metadata.labels?.['ray.io/node-type'] === 'head'
  narrator.expect(
    (certificate.checkHost(headName) !== undefined) === isHead,
    isHead ? 'the head service is among the names' : 'the head service is not among the names'
  )
  const readable = (await stat(files.key)).mode & 0o007
  narrator.expect(readable === 0, 'its key can be read by nobody else')
}

async function talk({ narrator, addresses }: Cast, running: RunningPod[]): Promise<void> {
  const [head, worker, otherWorker] = await Promise.all(running.map(peerOf))
  if (!head || !worker || !otherWorker) return
  const [headAddress, workerAddress] = addresses
  const gcs = await listen(head, headAddress)
  const raylet = await listen(worker, workerAddress)
  const expectHello = (heard: string, what: string) =>
    narrator.expect(heard === 'hello', what, heard)
  const expectRefusal = (heard: string, what: string) =>
    narrator.expect(heard !== 'hello' && heard !== '', what, heard)

  expectHello(
    await greet(worker, headAddress, gcs.port, headName),
    `a worker reaches the head as ${headName}`
  )
  expectHello(
    await greet(otherWorker, workerAddress, raylet.port, workerAddress),
    `a worker reaches a worker as ${workerAddress}`
  )
  expectHello(
    await greet(head, workerAddress, raylet.port, workerAddress),
    `the head reaches a worker as ${workerAddress}`
  )
  expectRefusal(
    await greet(worker, headAddress, gcs.port, `${demoCluster}-head-svc`),
    'the short name of the head is not in its certificate'
  )
  expectRefusal(
    await greet({ ca: head.ca }, headAddress, gcs.port, headName),
    'a client without a certificate is refused'
  )
  expectRefusal(await greetInPlainText(headAddress, gcs.port), 'a client without TLS is refused')
  await gcs.close()
  await raylet.close()
}

/** Whoever is at the other end of Ray's gRPC runs code in the cluster: the certificate is all that is looked at. */
async function knock(cast: Cast, [running]: RunningPod[]): Promise<void> {
  const { stage, narrator, addresses } = cast
  if (!running) return
  const cluster = rayCluster('11111111-0000-4000-8000-000000000002')
  cluster.metadata.namespace = 'team-b'
  stage.standIn.put(cluster)
  // It has a head that is not seen further: without one there is no CA for it.
  const otherHead = headPod(cluster)
  const worker = workerPod(cluster)
  for (const pod of [otherHead, worker]) pod.metadata.namespace = 'team-b'
  await admitted(cast, otherHead, `${demoCluster}-head-7mz2p`, false)
  const [headAddress, , , address] = addresses
  const name = `${demoCluster}-small-worker-w2c8x`
  const admittedPod = await admitted(cast, worker, name, false)
  const stranger = await peerOf(await started(cast, admittedPod, address, false))
  const head = await peerOf(running)
  const gcs = await listen(head, headAddress)
  // It trusts whom it likes: what counts is whether the head lets it in.
  const heard = await greet({ ...stranger, ca: head.ca }, headAddress, gcs.port, headName)
  await gcs.close()
  if (stage.trust === 'shared') {
    narrator.expect(heard === 'hello', 'with trust: shared it is let in', heard)
  } else {
    narrator.expect(heard !== 'hello' && heard !== '', 'it is refused', heard)
    narrator.expect(stranger.ca !== head.ca, 'each cluster trusts a CA of its own')
  }
}

async function attack(cast: Cast, running: RunningPod[]): Promise<void> {
  const { stage, narrator, addresses } = cast
  const url = `${stage.enrollmentUrl}${certificatesPath}`
  const [, , , , intruder] = addresses
  const victim = running[1]
  if (!victim) return
  const intruderKey = makeKeyPairSync().privateKey
  const ask = async (options: { token: string; from: string; podIPs: string[] }) => {
    const { status, body } = await post(
      url,
      { csr: createCertificateRequest(intruderKey), podIPs: options.podIPs },
      { ca: stage.serverCa, token: options.token, localAddress: options.from }
    )
    return { status, code: String(body.code), told: `${status} ${body.code}` }
  }

  const stolen = await ask({ token: victim.token, from: intruder, podIPs: [victim.address] })
  narrator.expect(
    stolen.code === 'SourceAddress',
    "a worker's token, sent from another address",
    stolen.told
  )

  const forged = await placeForgery(cast)
  const foreign = await ask({ token: forged.token, from: intruder, podIPs: [intruder] })
  narrator.expect(
    foreign.code === 'RayClusterNotFound',
    `a pod of namespace team-b that calls itself the head of ${demoNamespace}/${demoCluster}`,
    foreign.told
  )

  const claimed = await ask({ token: victim.token, from: victim.address, podIPs: [intruder] })
  narrator.expect(
    claimed.code === 'IPMismatch',
    'a worker that claims an address which the Kubernetes API does not give it',
    claimed.told
  )
}

/** A pod of another namespace whose labels and owner are copied from the real head. */
async function placeForgery(cast: Cast): Promise<{ token: string }> {
  const { stage, addresses } = cast
  const cluster = rayCluster('11111111-0000-4000-8000-000000000001')
  const copied = headPod(cluster)
  const forged = { ...copied, metadata: { ...copied.metadata, namespace: 'team-b' } }
  const pod = await admitted(cast, forged, `${demoCluster}-head-00000`, false)
  const [, , , , intruder] = addresses
  const placed = stage.standIn.put({
    ...pod,
    status: { phase: 'Pending', podIP: intruder, podIPs: [{ ip: intruder }] }
  })
  return { token: stage.standIn.issueToken(placed) }
}
