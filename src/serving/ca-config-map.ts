/**
 * Publishes the enrollment server's CA, which the webhook puts into pods: a ConfigMap in our own namespace.
 *
 * Public certificates alone. Whoever may write this ConfigMap decides whom new pods trust when they enroll, hence it is
 * never read from, or written to, a namespace of users.
 */
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { ConfigMap } from '../kubernetes/objects.ts'
import { path } from '../kubernetes/path.ts'
import type { Announcer } from './keeper.ts'
import { enrollmentCaConfigMap, enrollmentCaKey } from './profile.ts'

export interface CaConfigMapOptions {
  client: Client
  namespace: string
  /** It was missing or edited, and is right now. */
  onPublished(): void
}

export function createCaConfigMap({
  client,
  namespace,
  onPublished
}: CaConfigMapOptions): Announcer {
  let published: string | undefined

  return {
    async ensure(bundle) {
      const collection = path`/api/v1/namespaces/${namespace}/configmaps`
      const place = `${collection}/${enrollmentCaConfigMap}`
      const found = await client.get<ConfigMap>(place)
      if (found?.data?.[enrollmentCaKey] !== bundle) {
        const body = {
          ...found,
          apiVersion: 'v1',
          kind: 'ConfigMap',
          metadata: found?.metadata ?? {
            name: enrollmentCaConfigMap,
            namespace,
            labels: {
              'app.kubernetes.io/name': 'rayguard',
              'app.kubernetes.io/component': 'enrollment'
            }
          },
          data: { [enrollmentCaKey]: bundle }
        }
        try {
          if (found === undefined) await client.create(collection, body)
          else await client.replace(place, body)
        } catch (error) {
          // Another replica was first; the next look compares.
          if (error instanceof KubernetesError && error.code === 'Conflict') return
          throw error
        }
        onPublished()
      }
      published = bundle
    },
    trusts: anchor => published?.includes(anchor)
  }
}
