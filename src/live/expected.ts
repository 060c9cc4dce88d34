/**
 * Pods that were answered a moment ago. Between an answer and the pod in the watch lie some milliseconds, in which a label
 * of the namespace may change: the next pod of the same cluster is answered like the first. A pod has no name at
 * admission, so one that is seen takes any equal one away; what was never created is forgotten by time.
 *
 * Another replica does not know of them. That costs nothing where it decides alike (no live pods: TLS), and leaves the
 * watch's lag as the time in which a changed label can split a cluster that is just being made.
 *
 * Counted by spans of time, so that an admission costs the same however many pods are on their way.
 */
import type { LivePod } from './pod.ts'
import { type ClusterTls, type Count, keyOf } from './sides.ts'

interface Answered {
  key: string
  node: LivePod['node']
  tls: ClusterTls
  /** It would have TLS, had its cluster. */
  leftAlone: boolean
}

/** Those that were answered within one span of time, counted by what they are. */
interface Span {
  until: number
  size: number
  counts: Map<string, number>
}

/** How long a pod counts at least that the watch has not shown: longer than a watch lags, shorter than a person acts. */
const expectedForMs = 2_000

const spanMs = expectedForMs / 8
/** Beyond it whole spans are forgotten, the oldest first; never the one that is under way. */
const mostExpected = 10_000

/** `clock`: milliseconds that never go back. */
export function createExpected(clock: () => number) {
  /** The oldest first. */
  const spans: Span[] = []
  return {
    push(answered: Answered) {
      const span = current()
      const kind = kindOf(answered)
      span.counts.set(kind, (span.counts.get(kind) ?? 0) + 1)
      span.size += 1
      while (spans.length > 1 && total() > mostExpected) spans.shift()
    },
    /** Whether it is one of the expected, and was left alone. */
    seenLeftAlone({ namespace, cluster: { uid }, node, tls }: LivePod): boolean {
      if (tls === 'other') return false
      const seen = { key: keyOf({ namespace, uid }), node, tls }
      for (const span of valid()) {
        for (const leftAlone of [true, false]) {
          if (take(span, kindOf({ ...seen, leftAlone }))) return leftAlone
        }
      }
      return false
    },
    addTo(key: string, seen: Count): Count {
      if (spans.length === 0) return seen
      const found = valid()
      const sum = (node: LivePod['node'], tls: ClusterTls) =>
        found.reduce((count, { counts }) => {
          const of = (leftAlone: boolean) => counts.get(kindOf({ key, node, tls, leftAlone })) ?? 0
          return count + of(true) + of(false)
        }, seen[node][tls])
      const both = (node: LivePod['node']) => ({
        rayguard: sum(node, 'rayguard'),
        none: sum(node, 'none')
      })
      return { head: both('head'), worker: both('worker') }
    }
  }

  /** Without those whose time is over. */
  function valid(): Span[] {
    const now = clock()
    while (spans[0] !== undefined && spans[0].until <= now) spans.shift()
    return spans
  }

  function current(): Span {
    const until = (Math.floor(clock() / spanMs) + 1) * spanMs + expectedForMs
    const last = valid().at(-1)
    if (last?.until === until) return last
    const next = { until, size: 0, counts: new Map() }
    spans.push(next)
    return next
  }

  function take(span: Span, kind: string): boolean {
    const count = span.counts.get(kind)
    if (count === undefined) return false
    if (count === 1) span.counts.delete(kind)
    else span.counts.set(kind, count - 1)
    span.size -= 1
    return true
  }

  function total(): number {
    return spans.reduce((sum, { size }) => sum + size, 0)
  }
}

function kindOf({ key, node, tls, leftAlone }: Answered): string {
  return `${key} ${node} ${tls} ${leftAlone}`
}
