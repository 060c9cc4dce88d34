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
  /** To the end of a list, which is made if it is missing. */
  append(path: Path, value: unknown): void
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
  // What this patch copied or made, and may therefore change in place.
  const owned = new Set<unknown>()
  // What an operation of this patch carries as its value.
  const fresh = new Set<unknown>()
  let root = original as unknown as Node

  return {
    get pod() {
      return root as unknown as Pod
    },
    operations,
    put(path, value) {
      const { parent, silent, missing } = descend(path.slice(0, -1))
      const member = path[path.length - 1] as string | number
      if (missing.length > 0) {
        make(parent, path, missing.length, value, silent)
        return
      }
      const op = Object.hasOwn(parent, member) ? 'replace' : 'add'
      parent[member] = value
      if (!silent) operations.push({ op, path: pointer(path), value })
    },
    append(path, value) {
      const { parent, silent, missing } = descend(path)
      if (missing.length > 0) {
        make(parent, path, missing.length - 1, list(value), silent)
        return
      }
      ;(parent as unknown as unknown[]).push(value)
      if (!silent) operations.push({ op: 'add', path: `${pointer(path)}/-`, value })
    },
    insert(path, index, value) {
      const { parent, silent, missing } = descend(path)
      if (missing.length > 0) {
        make(parent, path, missing.length - 1, list(value), silent)
        return
      }
      ;(parent as unknown as unknown[]).splice(index, 0, value)
      if (!silent) operations.push({ op: 'add', path: pointer([...path, index]), value })
    },
    move(path, from, to) {
      const { parent, silent } = descend(path)
      const items = parent as unknown as unknown[]
      items.splice(to, 0, ...items.splice(from, 1))
      if (silent) return
      operations.push({ op: 'move', from: pointer([...path, from]), path: pointer([...path, to]) })
    },
    remove(path) {
      const { parent, silent } = descend(path.slice(0, -1))
      const member = path[path.length - 1] as string | number
      if (Array.isArray(parent)) parent.splice(member as number, 1)
      else delete parent[member]
      if (!silent) operations.push({ op: 'remove', path: pointer(path) })
    }
  }

  /** Copies what lies on the way, once. `missing` are the last members of the path, from the first absent one on. */
  function descend(path: Path): { parent: Node; silent: boolean; missing: Path } {
    root = own(root)
    let parent = root
    let silent = false
    for (let depth = 0; depth < path.length; depth += 1) {
      const member = path[depth] as string | number
      const child = parent[member]
      if (child === undefined || child === null)
        return { parent, silent, missing: path.slice(depth) }
      silent ||= fresh.has(child)
      const mine = own(child as Node)
      parent[member] = mine
      parent = mine
    }
    return { parent, silent, missing: [] }
  }

  function own(node: Node): Node {
    if (owned.has(node)) return node
    const copy = (Array.isArray(node) ? node.slice() : { ...node }) as Node
    owned.add(copy)
    return copy
  }

  /** One operation for the topmost member that is missing, with the value nested `depth` members further down. */
  function make(parent: Node, path: Path, depth: number, value: unknown, silent: boolean): void {
    let made = value
    const top = path.length - 1 - depth
    for (let index = path.length - 1; index > top; index -= 1) {
      made = { [path[index] as string]: made }
      owned.add(made)
      fresh.add(made)
    }
    parent[path[top] as string | number] = made
    if (!silent) operations.push({ op: 'add', path: pointer(path.slice(0, top + 1)), value: made })
  }

  function list(value: unknown): unknown[] {
    const made = [value]
    owned.add(made)
    fresh.add(made)
    return made
  }
}
