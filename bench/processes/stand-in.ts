/** The stand-in for the Kubernetes API (see src/demo/stand-in.ts), which it is not, and a signer of its cluster. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createStandIn, type StandIn } from '../../src/demo/stand-in.ts'
import type {
  CertificateSigningRequest,
  KubernetesObject,
  Pod
} from '../../src/kubernetes/objects.ts'
import type { ServingPair } from '../certificates.ts'
import { openSigner } from '../cluster-signer.ts'
import { serveParent } from '../processes.ts'

let standIn: StandIn | undefined

serveParent({
  listen(options: ServingPair & { clientToken: string }) {
    standIn = createStandIn({ ...options, clock: Date.now })
    return standIn.listen()
  },
  put(objects: KubernetesObject[]) {
    const stored = objects.map(object => standIn?.put(object))
    return stored.map(object =>
      object?.kind === 'Pod' ? standIn?.issueToken(object as Pod, { expirationSeconds: 3600 }) : ''
    )
  },
  /** Whatever is approved is signed `delayMs` later. */
  async sign({ certificate, privateKey, delayMs }: ServingPair & { delayMs: number }) {
    const sign = await openSigner(certificate, privateKey)
    standIn?.store.subscribe(async ({ type, object }) => {
      if (type !== 'MODIFIED' || object.kind !== 'CertificateSigningRequest') return
      const { status, ...request } = object as CertificateSigningRequest
      const { conditions = [], certificate } = status ?? {}
      if (certificate || !conditions?.some(condition => condition.type === 'Approved')) return
      await sleep(delayMs)
      const pem = await sign(Buffer.from(request.spec.request ?? '', 'base64').toString())
      const signed = { ...status, certificate: Buffer.from(pem).toString('base64') }
      standIn?.put({ ...request, status: signed } as KubernetesObject)
    })
  }
})
