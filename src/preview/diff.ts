/**
 * The patch as people read it: a unified diff of the pod before and after, in YAML.
 */
import { createTwoFilesPatch } from 'diff'
import { stringify } from 'yaml'
import type { Pod } from '../kubernetes/objects.ts'

/** Unified diff with three lines of context; empty when nothing changes. */
export function diffOfPods(before: Pod, after: Pod, name: string): string {
  const [from, to] = [yamlOf(before), yamlOf(after)]
  if (from === to) return ''
  return createTwoFilesPatch(`${name} as KubeRay made it`, `${name} as it will run`, from, to)
    .split('\n')
    .filter(line => !/^={5,}$/.test(line))
    .join('\n')
}

function yamlOf(pod: Pod): string {
  return stringify(pod, { lineWidth: 0, aliasDuplicateObjects: false })
}
