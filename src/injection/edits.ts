/**
 * A pod that is being changed, together with the RFC 6902 operations that make the same changes elsewhere.
 *
 * Decides nothing about pods. Shares with the original whatever is not changed, and never changes the original. An
 * operation carries only what is new: inside something that the patch itself adds, a further change makes no operation of
 * its own.
 */
import type { Pod } from '../kubernetes/objects.ts'
import { type Path, pointer } from './pointer.ts'

export type Operation =
  | { op: 'add' | 'replace'; path: string; value: unknown }
  | { op: 'remove'; path: string }
  | { op: 'move'; from: string; path: string }

export interface Edits {
  /** As it is after the changes so far. */
  readonly pod: Pod
  readonly operations: Operation[]
  /** Sets a member, and makes what is missing above it. An index must exist. */
  put(path: Path, value: unknown): void
  /** To the end of a list, which is made if it is missing. At least one value. */
  append(path: Path, ...values: unknown[]): void
  /** Into a list, which is made if it is missing. */
  insert(path: Path, index: number, value: unknown): void
  /** Within a list. */
  move(path: Path, from: number, to: number): void
  /** A member or an index that exists. */
  remove(path: Path): void
}

type Node = Record<string | number, unknown>

export function createEdits(original: Pod): Edits {
  const operations: Operation[] = []
  // What this patch copied or made, and may therefore change in place; true where an operation carries it as its value.
  const mine = new Map<unknown, boolean>()
  let root = original as unknown as Node

  return {
    get pod() {
      return root as unknown as Pod
    },
    operations,
    put(path, value) {
      const { parent, silent, missing } = descend(path, path.length - 1)
      const member = path[path.length - 1] as string | number
      if (missing > 0) {
        make(parent, path, missing, value, silent)
        return
      }
      const op = Object.hasOwn(parent, member) ? 'replace' : 'add'
      parent[member] = value
      if (!silent) operations.push({ op, path: pointer(path), value })
    },
    append(path, ...values) {
      const { parent, silent, missing } = descend(path, path.length)
      if (missing > 0) {
        make(parent, path, missing - 1, list(values), silent)
        return
      }
      ;(parent as unknown as unknown[]).push(...values)
      if (silent) return
      const end = `${pointer(path)}/-`
      for (const value of values) operations.push({ op: 'add', path: end, value })
    },
    insert(path, index, value) {
      const { parent, silent, missing } = descend(path, path.length)
      if (missing > 0) {
        make(parent, path, missing - 1, list([value]), silent)
        return
      }
      ;(parent as unknown as unknown[]).splice(index, 0, value)
      if (!silent) operations.push({ op: 'add', path: pointer([...path, index]), value })
    },
    move(path, from, to) {
      const { parent, silent } = descend(path, path.length)
      const items = parent as unknown as unknown[]
      items.splice(to, 0, ...items.splice(from, 1))
      if (silent) return
      operations.push({ op: 'move', from: pointer([...path, from]), path: pointer([...path, to]) })
    },
    remove(path) {
      const { parent, silent } = descend(path, path.length - 1)
      const member = path[path.length - 1] as string | number
      if (Array.isArray(parent)) parent.splice(member as number, 1)
      else delete parent[member]
      if (!silent) operations.push({ op: 'remove', path: pointer(path) })
    }
  }

  /** Copies what lies on the way, once. `missing` counts the members from the first absent one on. */
  function descend(path: Path, length: number): { parent: Node; silent: boolean; missing: number } {
    if (!mine.has(root)) root = copy(root)
    let parent = root
    let silent = false
    for (let depth = 0; depth < length; depth += 1) {
      const member = path[depth] as string | number
      const child = parent[member]
      if (child === undefined || child === null) return { parent, silent, missing: length - depth }
      const known = mine.get(child)
      silent ||= known === true
      if (known === undefined) {
        parent = parent[member] = copy(child as Node)
      } else parent = child as Node
    }
    return { parent, silent, missing: 0 }
  }

  function copy(node: Node): Node {
    const made = (Array.isArray(node) ? node.slice() : { ...node }) as Node
    mine.set(made, false)
    return made
  }

  /** One operation for the topmost member that is missing, with the value nested `depth` members further down. */
  function make(parent: Node, path: Path, depth: number, value: unknown, silent: boolean): void {
    let made = value
    const top = path.length - 1 - depth
    for (let index = path.length - 1; index > top; index -= 1) {
      made = { [path[index] as string]: made }
      mine.set(made, true)
    }
    parent[path[top] as string | number] = made
    if (!silent) operations.push({ op: 'add', path: pointer(path.slice(0, top + 1)), value: made })
  }

  function list(made: unknown[]): unknown[] {
    mine.set(made, true)
    return made
  }
}
