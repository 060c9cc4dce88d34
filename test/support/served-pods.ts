/** Ray clusters on the stand-in for the API, whose pods ask a served enrollment listener for their certificates. */
import type { RayCluster } from '../../src/kubernetes/objects.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { eventually } from './cluster.ts'
import { newKey } from './hand-made-certificates.ts'
import { rayCluster, rayPod, serviceOf } from './ray-objects.ts'
import { type Place, post, type Reply } from './served.ts'

export interface ServedPods {
  /** A new pod asks, and again only until the watch shows its head. `node`: `head` (by default) or `worker`. */
  ask(cluster: string, node?: string): Promise<Reply>
  /** A new pod asks until it has its certificate: a watch may not show yet what it needs. */
  enrolled(cluster: string, node?: string): Promise<Reply>
}

export function servedPods({ standIn }: Place, enrollmentPort: number): ServedPods {
  const clusters = new Map<string, RayCluster>()
  let count = 0
  return {
    async ask(cluster, node = 'head') {
      const ask = newPod(cluster, node)
      return await eventually(`the head of ${cluster} is known`, async () => {
        const reply = await ask()
        return reply.json.code !== 'HeadNotKnown' && reply
      })
    },
    async enrolled(cluster, node = 'head') {
      const ask = newPod(cluster, node)
      return await eventually(`${cluster} has a certificate`, async () => {
        const reply = await ask()
        return reply.status === 201 && reply
      })
    }
  }

  function newPod(name: string, node: string): () => Promise<Reply> {
    count += 1
    const address = `127.0.6.${count}`
    const podName = node === 'head' ? `${name}-head` : `${name}-${node}-${count}`
    const pod = standIn.put(
      rayPod({ name: podName, cluster: clusterOf(name), node, ips: [address] })
    )
    const body = { csr: createCertificateRequest(newKey()), podIPs: [address] }
    return () =>
      post(enrollmentPort, '/v1/certificates', body, {
        localAddress: address,
        headers: { authorization: `Bearer ${standIn.issueToken(pod)}` }
      })
  }

  function clusterOf(name: string): RayCluster {
    const serviceName = `${name}-head-svc`
    const head = { podName: `${name}-head`, serviceName }
    const cluster = clusters.get(name) ?? standIn.put(rayCluster(name, { head }))
    clusters.set(name, cluster)
    standIn.put(serviceOf(cluster, serviceName))
    return cluster
  }
}
