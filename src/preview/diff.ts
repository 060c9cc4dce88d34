/**
 * The patch as people read it: a unified diff of the pod before and after, in YAML.
 */
import { createTwoFilesPatch } from 'diff'
import { Document, Scalar, stringify, visit } from 'yaml'
import { hiddenCharacters } from '../injection/quote.ts'

/** Unified diff with three lines of context; empty when nothing changes. */
export function diffOfPods(before: unknown, after: unknown, name: string): string {
  const [from, to] = [yamlOf(before), yamlOf(after)]
  if (from === to) return ''
  return createTwoFilesPatch(`${name} as KubeRay made it`, `${name} as it will run`, from, to)
    .split('\n')
    .filter(line => !/^={5,}$/.test(line))
    .join('\n')
}

/** With hidden characters escaped, so that every program reads the same values, and people see that they are there. */
export function yamlOf(pod: unknown): string {
  const text = stringify(pod, { lineWidth: 0, aliasDuplicateObjects: false })
  if (text.search(hiddenCharacters) < 0) return text
  const document = new Document(pod, { aliasDuplicateObjects: false })
  visit(document, {
    Scalar(_key, node) {
      // Only in double quotes can they be escaped (YAML 1.2.2 §7.3.1).
      if (typeof node.value === 'string' && node.value.search(hiddenCharacters) >= 0)
        node.type = Scalar.QUOTE_DOUBLE
    }
  })
  return document.toString({ lineWidth: 0 }).replace(hiddenCharacters, escaped)
}

function escaped(character: string): string {
  return `\\U${(character.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`
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
