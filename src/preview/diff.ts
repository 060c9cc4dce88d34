/**
 * The patch as people read it: a unified diff of the pod before and after, in YAML.
 */
import { createTwoFilesPatch } from 'diff'
import { stringify } from 'yaml'

/** Unified diff with three lines of context; empty when nothing changes. */
export function diffOfPods(before: unknown, after: unknown, name: string): string {
  const [from, to] = [yamlOf(before), yamlOf(after)]
  if (from === to) return ''
  return createTwoFilesPatch(`${name} as KubeRay made it`, `${name} as it will run`, from, to)
    .split('\n')
    .filter(line => !/^={5,}$/.test(line))
    .join('\n')
}

export function yamlOf(pod: unknown): string {
  return stringify(pod, { lineWidth: 0, aliasDuplicateObjects: false })
}

const controlSequence = '\u001b['
const colours: Record<string, string> = { '+': '32', '-': '31', '@': '36' }

/** For a terminal (ECMA-48 SGR): added lines green, removed ones red, places cyan, the header bold. */
export function coloured(diff: string): string {
  return diff
    .split('\n')
    .map(line => {
      const colour = /^(---|\+\+\+) /.test(line) ? '1' : colours[line[0] ?? '']
      return colour === undefined ? line : `${controlSequence}${colour}m${line}${controlSequence}0m`
    })
    .join('\n')
}
