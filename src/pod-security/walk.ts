/**
 * The containers of a pod in the order of the upstream library: init, ordinary, ephemeral.
 *
 * Every check of this room visits all three kinds; one that is forgotten is where a violation hides.
 */
import type { Container, Pod } from '../kubernetes/objects.ts'

export const containerLists = ['initContainers', 'containers', 'ephemeralContainers'] as const
export type ContainerList = (typeof containerLists)[number]

export type Visit = (container: Container, list: ContainerList, index: number) => void

export function eachContainer(pod: Pod, visit: Visit): void {
  for (const list of containerLists) {
    const containers = pod.spec[list]
    if (!containers) continue
    for (let index = 0; index < containers.length; index += 1) {
      visit(containers[index] as Container, list, index)
    }
  }
}

export function allContainers({ spec }: Pod): readonly Container[] {
  const { initContainers, containers, ephemeralContainers } = spec
  if (!initContainers?.length && !ephemeralContainers?.length) return containers
  return [...(initContainers ?? []), ...containers, ...(ephemeralContainers ?? [])]
}
