import fc from 'fast-check'
import t from 'tap'
import { overlaps } from '../../src/contract/enroll-container.ts'
import { createEdits } from '../../src/injection/edits.ts'
import { pointer } from '../../src/injection/pointer.ts'
import { isSameQuantity } from '../../src/injection/quantity.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { applied } from '../support/api-server.ts'

t.test('attack 37: members of any name are escaped, the tilde first', async t => {
  t.equal(pointer(['a', 0, 'b']), '/a/0/b', 'plain')
  t.equal(pointer(['rayguard.dev/report']), '/rayguard.dev~1report', 'a slash')
  t.equal(pointer(['~1']), '/~01', 'what looks like an escape')
  t.equal(pointer(['']), '/', 'an empty member')
  const name = fc.string({ unit: fc.constantFrom('~', '/', '0', '1', 'a', '"', '\\', 'ü') })
  fc.assert(
    // fast-json-patch refuses these two itself; the route refuses the first and Kubernetes the second.
    fc.property(name, key => {
      const pod = { metadata: {}, spec: { containers: [] } } as Pod
      const edits = createEdits(pod)
      edits.put(['metadata', 'annotations', 'first'], 'x')
      edits.put(['metadata', 'labels'], {})
      edits.put(['metadata', 'labels', key], 'value')
      const labels = applied(pod, edits.operations).metadata.labels ?? {}
      if (labels[key] !== 'value' || Object.keys(labels).length !== 1) throw new Error('lost')
    }),
    { numRuns: 300 }
  )
})

t.test('random edits: the operations make the same object, and the original stays', async t => {
  const pathPart = fc.constantFrom('a', 'b', 'c')
  const step = fc.record({
    kind: fc.constantFrom('put', 'append', 'insert', 'move', 'remove'),
    path: fc.array(pathPart, { minLength: 1, maxLength: 3 }),
    value: fc.oneof(fc.integer(), fc.constantFrom(null, 'x'), fc.constant({ a: { b: 1 } }))
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), steps => {
      const original = { a: { b: { c: 1 } }, b: null, list: [1, { a: 1 }], c: { list: [] } }
      const before = JSON.stringify(original)
      const edits = createEdits(original as unknown as Pod)
      for (const { kind, path, value } of steps) {
        const listPath = [...path, 'list']
        if (kind === 'put' && isSettable(edits.pod, path)) edits.put(path, value)
        if (!isSettable(edits.pod, listPath)) continue
        if (kind === 'append') edits.append(listPath, value)
        if (kind === 'insert') edits.insert(listPath, 0, value)
        const length = lengthAt(edits.pod, listPath)
        if (kind === 'move' && length > 1) edits.move(listPath, length - 1, 0)
        if (kind === 'remove' && length > 0) edits.remove([...listPath, length - 1])
        else if (kind === 'remove' && length === 0) edits.remove(listPath)
      }
      if (JSON.stringify(original) !== before) throw new Error('the original was changed')
      const made = applied(original as unknown as Pod, edits.operations)
      if (JSON.stringify(sorted(made)) !== JSON.stringify(sorted(edits.pod))) {
        throw new Error(`${JSON.stringify(made)} is not ${JSON.stringify(edits.pod)}`)
      }
    }),
    { numRuns: 2000 }
  )
  t.pass('no difference found')
})

/** Only objects, or nothing, may lie on the way. */
function isSettable(root: unknown, path: readonly string[]): boolean {
  let node = root
  for (const member of path.slice(0, -1)) {
    if (node === null || node === undefined) return true
    if (typeof node !== 'object' || Array.isArray(node)) return false
    node = (node as Record<string, unknown>)[member]
  }
  return node === null || node === undefined || (typeof node === 'object' && !Array.isArray(node))
}

function lengthAt(root: unknown, path: readonly string[]): number {
  let node = root
  for (const member of path) node = (node as Record<string, unknown> | null | undefined)?.[member]
  return Array.isArray(node) ? node.length : -1
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, child]) => [key, sorted(child)] as const)
      .sort(([one], [other]) => (one < other ? -1 : 1))
  )
}

t.test('quantities are compared by value', async t => {
  const same = [
    ['0.5', '500m'],
    ['1', '1000m'],
    ['1Gi', '1024Mi'],
    ['1e3', '1k'],
    ['128Mi', '134217728'],
    ['+1', '1'],
    ['100u', '0.0001'],
    ['5n', '0.000000005']
  ] as const
  for (const [one, other] of same) t.ok(isSameQuantity(one, other), `${one} is ${other}`)
  for (const [one, other] of [
    ['1', '1m'],
    ['1M', '1Mi'],
    ['', '0'],
    ['x', '1'],
    ['1x', '1'],
    [undefined, '1'],
    [null, '0'],
    ['128Mi', '129Mi']
  ] as const) {
    t.notOk(isSameQuantity(one, other), `${String(one)} is not ${other}`)
  }
})

t.test('paths meet by members, not by letters', async t => {
  t.ok(overlaps('/a', '/a/b'), 'above')
  t.ok(overlaps('/a/b/', '/a//b'), 'the same')
  t.ok(overlaps('/x/../a', '/a'), 'taken back')
  t.ok(overlaps('/../..', '/a'), 'past the root')
  t.notOk(overlaps('/ab', '/a'), 'longer name')
  t.notOk(overlaps('/a/b', '/a/c'), 'beside')
})
