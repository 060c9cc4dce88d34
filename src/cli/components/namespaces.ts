import {
  certificateLifetimeLabel,
  pausedLabel,
  podSecurityLabel,
  tlsLabel
} from '../../contract/pod.ts'
import type { Namespace } from '../../kubernetes/objects.ts'
import { createReflector, type Reflector } from '../../kubernetes/reflector.ts'
import { createWaiters } from '../../kubernetes/waiters.ts'
import type { Surroundings } from './component.ts'

export type NamespaceLabels = Readonly<Record<string, string>>

export interface NamespaceIndex {
  reflector: Reflector<NamespaceEntry>
  /** Undefined also while the watch is lost: what it showed last may be hours old. */
  labelsOf(name: string): NamespaceLabels | undefined
  /** Waits a moment for a namespace that the watch has not shown; undefined when it does not show it. */
  whenKnown(name: string): Promise<NamespaceLabels | undefined>
  /** Namespaces that are left out by their label. */
  paused(): number
}

interface NamespaceEntry {
  uid: string
  name: string
  labels: NamespaceLabels
}

/** The API server waits five seconds for an answer, and a watch lags by milliseconds. */
const patienceMs = 1_000

/** The labels of all namespaces that mean something to us, by name, from a watch. */
export function createNamespaceIndex(surroundings: Surroundings): NamespaceIndex {
  const byName = new Map<string, NamespaceEntry>()
  const waiters = createWaiters<NamespaceLabels>()
  const reflector = createReflector<Namespace, NamespaceEntry>({
    client: surroundings.client,
    path: '/api/v1/namespaces',
    project: entryOf,
    onChange({ before, after }) {
      // A namespace that was made anew may be heard of before the end of the one before it.
      if (before !== undefined && byName.get(before.name)?.uid === before.uid) {
        byName.delete(before.name)
      }
      if (after === undefined) return
      byName.set(after.name, after)
      waiters.wake(after.name, after.labels)
    },
    onFault(error) {
      surroundings.log.warn(
        { watch: 'namespaces', err: error },
        'a watch failed and is tried again'
      )
    },
    random: surroundings.random.fraction,
    clock: surroundings.clocks.steady
  })
  const labelsOf = (name: string) => (reflector.synced() ? byName.get(name)?.labels : undefined)
  return {
    reflector,
    labelsOf,
    async whenKnown(name) {
      await waiters.wait(name, labelsOf(name), {
        timeoutMs: patienceMs,
        until: labels => labels !== undefined
      })
      return labelsOf(name)
    },
    paused: () => [...byName.values()].filter(({ labels }) => pausedLabel in labels).length
  }
}

function entryOf({ metadata }: Namespace): NamespaceEntry {
  const labels: Record<string, string> = {}
  for (const label of [tlsLabel, podSecurityLabel, pausedLabel, certificateLifetimeLabel]) {
    const value = metadata.labels?.[label]
    if (value !== undefined) labels[label] = value
  }
  return { uid: metadata.uid ?? '', name: metadata.name ?? '', labels }
}
