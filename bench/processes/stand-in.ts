/** The stand-in for the Kubernetes API (see src/demo/stand-in.ts), which it is not. */
import { createStandIn, type StandIn } from '../../src/demo/stand-in.ts'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import type { ServingPair } from '../certificates.ts'
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
  }
})
