/**
 * One YAML document as a value, read strictly: no key twice, no key that no object of Kubernetes has, no unknown tags, and
 * no more behind aliases than a text could hold without them.
 *
 * Nothing here recurses before the depth is known: the nesting is the writer's choice.
 */
import {
  Composer,
  type CST,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  type Document as Parsed,
  Parser,
  type ScalarTag
} from 'yaml'
import { keyProblem, maximumDepth, type TextProblem } from './text-problem.ts'

const maximumAliases = 100
/** Characters and nodes that aliases stand for together. Attack: aliases of aliases, each line ten times the one before. */
const maximumBorrowed = 1024 * 1024

export function readYaml(source: string): { value: unknown } | TextProblem {
  const tokens = tokensOf(source)
  if ('problem' in tokens) return tokens
  const parsed = compose(tokens.tokens, source.length)
  if ('problem' in parsed) return parsed
  const odd = oddity(parsed.document)
  if (odd !== undefined) return odd
  try {
    // Aliases are counted above.
    return { value: parsed.document.toJS({ maxAliasCount: -1 }) }
  } catch (error) {
    // `<<` that leads to no map.
    return { code: 'Malformed', problem: `not YAML: ${(error as Error).message}`, offset: 0 }
  }
}

/** The parser keeps a stack of its own; what makes values of its tokens recurses. */
function tokensOf(source: string): { tokens: CST.Token[] } | TextProblem {
  const parser = new Parser()
  const tokens: CST.Token[] = []
  for (const lexeme of new Lexer().lex(source)) {
    for (const token of parser.next(lexeme)) tokens.push(token)
    // One for the document itself.
    if (parser.stack.length > maximumDepth + 1) {
      return { code: 'TooDeep', problem: 'nested too deeply', offset: parser.offset }
    }
  }
  for (const token of parser.end()) tokens.push(token)
  return { tokens }
}

/** `defaultMode: 0444` is octal to kubectl, and YAML 1.2 would read it as decimal. */
const octal: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^0[0-7]+$/,
  resolve: text => Number.parseInt(text, 8)
}

function compose(tokens: CST.Token[], length: number): { document: Parsed } | TextProblem {
  const composer = new Composer({
    version: '1.2',
    schema: 'core',
    customTags: tags => [octal, ...tags],
    merge: true,
    strict: true,
    // Its own look at each key compares it with every other one of its map.
    uniqueKeys: false,
    logLevel: 'silent'
  })
  const [document, second] = composer.compose(tokens, true, length)
  if (document === undefined) throw new Error('the YAML reader has made no document')
  const [error] = [...document.errors, ...document.warnings]
  if (error) {
    return { code: 'Malformed', problem: `not YAML: ${error.message}`, offset: error.pos[0] }
  }
  if (second !== undefined) {
    const problem = 'expected a line --- before the next document'
    return { code: 'Malformed', problem, offset: second.range[0] }
  }
  return { document }
}

interface Visit {
  node: unknown
  /** Where the alias stands through which we came here. */
  alias?: number
}

/** The first thing, in the order of the text, that the reader lets through and we do not. */
function oddity({ contents }: Parsed): TextProblem | undefined {
  const anchors = new Map<string, unknown>()
  const open: Visit[] = [{ node: contents }]
  let aliases = 0
  let borrowed = 0
  for (let visit = open.pop(); visit !== undefined; visit = open.pop()) {
    const { node, alias } = visit
    if (!isNode(node)) continue
    const offset = node.range?.[0] ?? 0
    if (alias !== undefined) {
      borrowed += isScalar(node) ? 1 + String(node.value).length : 1
      if (borrowed > maximumBorrowed) return tooManyAliases(alias)
    } else if (!isAlias(node) && node.anchor !== undefined) anchors.set(node.anchor, node)
    const from = alias === undefined ? {} : { alias }
    if (isAlias(node)) {
      aliases += alias === undefined ? 1 : 0
      if (aliases > maximumAliases) return tooManyAliases(offset)
      const target = anchors.get(node.source)
      if (target === undefined) {
        const problem = `not YAML: the alias *${node.source.slice(0, 60)} has no anchor before it`
        return { code: 'Malformed', problem, offset }
      }
      // One that leads to what it stands in goes round until it has borrowed too much.
      open.push({ node: target, alias: alias ?? offset })
    } else if (isSeq(node)) {
      for (const item of node.items.toReversed()) open.push({ node: item, ...from })
    } else if (isMap(node)) {
      const odd = alias === undefined ? oddKey(node.items, offset) : undefined
      if (odd !== undefined) return odd
      for (const { value } of node.items.toReversed()) open.push({ node: value, ...from })
    }
  }
  return undefined
}

function oddKey(pairs: readonly { key: unknown }[], mapOffset: number): TextProblem | undefined {
  const keys = new Set<string>()
  for (const { key } of pairs) {
    const offset = (isNode(key) ? key.range?.[0] : undefined) ?? mapOffset
    if (!isScalar(key) || key.value === null) {
      return { code: 'Malformed', problem: 'expected a text as the key', offset }
    }
    const problem = keyProblem(String(key.value), keys, offset)
    if (problem !== undefined) return problem
  }
  return undefined
}

function tooManyAliases(offset: number): TextProblem {
  const problem = `aliases (*) stand for too much here: at most ${maximumAliases} are read, for one MiB in all`
  return { code: 'TooManyAliases', problem, offset }
}
