/**
 * One eviction, of exactly the pod that was judged.
 *
 * The Eviction API respects PodDisruptionBudgets, which deleting does not
 * (https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/).
 */
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { path } from '../kubernetes/path.ts'

/** `blocked`: by a budget, or the API server wants fewer calls. `changed`: the pod is not the one that was judged any more. */
export type EvictionResult = 'evicted' | 'blocked' | 'changed' | 'forbidden'

/** Throws {@link KubernetesError} where it is not known whether the pod was evicted. */
export async function evict(client: Client, { metadata }: Pod): Promise<EvictionResult> {
  const { namespace = '', name = '', uid, resourceVersion } = metadata
  try {
    await client.create(path`/api/v1/namespaces/${namespace}/pods/${name}/eviction`, {
      apiVersion: 'policy/v1',
      kind: 'Eviction',
      metadata: { name, namespace },
      // Attack: a pod of the same name that has come meanwhile.
      deleteOptions: { preconditions: { uid, resourceVersion } }
    })
    return 'evicted'
  } catch (error) {
    const code = error instanceof KubernetesError ? error.code : undefined
    if (code === 'Throttled') return 'blocked'
    if (code === 'NotFound' || code === 'Conflict') return 'changed'
    // A policy of admission says 422.
    if (code === 'Forbidden' || code === 'Invalid') return 'forbidden'
    // Attack: two budgets over one pod, of which the API server says 500, and always will.
    if (/more than one PodDisruptionBudget/i.test(String(error))) return 'blocked'
    throw error
  }
}
