import { podSecurityLabel, tlsLabel } from '../../contract/pod.ts'
import type { Namespace } from '../../kubernetes/objects.ts'
import { createReflector, type Reflector } from '../../kubernetes/reflector.ts'
import type { Surroundings } from './component.ts'

export type NamespaceLabels = Readonly<Record<string, string>>

export interface NamespaceIndex {
  reflector: Reflector<NamespaceEntry>
  labelsOf(name: string): NamespaceLabels | undefined
}

interface NamespaceEntry {
  uid: string
  name: string
  labels: NamespaceLabels
}

/** The labels of all namespaces that mean something to us, by name, from a watch. */
export function createNamespaceIndex(surroundings: Surroundings): NamespaceIndex {
  const byName = new Map<string, NamespaceEntry>()
  const reflector = createReflector<Namespace, NamespaceEntry>({
    client: surroundings.client,
    path: '/api/v1/namespaces',
    project: entryOf,
    onChange({ before, after }) {
      // A namespace that was made anew may be heard of before the end of the one before it.
      if (before !== undefined && byName.get(before.name)?.uid === before.uid) {
        byName.delete(before.name)
      }
      if (after !== undefined) byName.set(after.name, after)
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
  return { reflector, labelsOf: name => byName.get(name)?.labels }
}

function entryOf({ metadata }: Namespace): NamespaceEntry {
  const labels: Record<string, string> = {}
  for (const label of [tlsLabel, podSecurityLabel]) {
    const value = metadata.labels?.[label]
    if (value !== undefined) labels[label] = value
  }
  return { uid: metadata.uid ?? '', name: metadata.name ?? '', labels }
}
