/**
 * The component that replaces pods before their certificates end. It holds the right to evict, so it is nothing else: it
 * listens to nobody, parses nothing that users send and loads neither the webhook nor what signs.
 */
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { resolveModes } from '../../admission/modes.ts'
import { podReplaced, type Regarding } from '../../events/reasons.ts'
import { createCalls } from '../../kubernetes/calls.ts'
import type { Client } from '../../kubernetes/client.ts'
import type { WebhookConfiguration } from '../../kubernetes/objects.ts'
import { createLiveClusters } from '../../live/clusters.ts'
import type { LivePod } from '../../live/pod.ts'
import { createReplacement } from '../../replacement/controller.ts'
import type { EvictionResult } from '../../replacement/evict.ts'
import { createLease } from '../../replacement/lease.ts'
import { isCovered, isPaused, registrationPath } from '../covered.ts'
import { type Component, type Surroundings, untilAborted } from './component.ts'
import { clusterOf, createEvents } from './events.ts'

const lookEveryMs = 2_000

export function createPodReplacement(surroundings: Surroundings): Component {
  const { client, clocks, random, settings, namespace, log, metrics, readiness } = surroundings
  const recorder = createEvents('replacement', surroundings)
  const counted = metrics.counter<EvictionResult | 'objection'>(
    'rayguard_replacement_evictions_total',
    'Evictions of pods whose certificates end, by what became of them.',
    'result'
  )
  const clusters = createLiveClusters({
    client,
    random: random.fraction,
    clock: clocks.steady,
    onFault: error =>
      log.warn({ watch: 'ray pods', err: error }, 'a watch failed and is tried again')
  })
  const lease = createLease({
    ...{ client, namespace, name: 'rayguard-replacement' },
    identity: `${hostname()}_${Buffer.from(random.bytes(6)).toString('hex')}`,
    ...{ wall: clocks.wall, steady: clocks.steady }
  })
  const calls = createCalls(client)
  const { aheadSeconds, heads, intervalSeconds } = settings.replacement
  const replacement = createReplacement({
    ...{ client, calls, lease, pods: clusters.pods, clock: clocks.api },
    rules: { aheadMs: aheadSeconds * 1000, heads, intervalMs: intervalSeconds * 1000 },
    objection: name => objection(client, calls, name),
    onResult(pod, result, reason) {
      counted(result)
      log.info({ ...namesOf(pod), result, reason }, 'a pod whose certificate ends')
      if (result === 'evicted') recorder.tell(replaced(pod))
    }
  })
  metrics.gauge(
    'rayguard_replacement_active',
    '1 in the replica that replaces pods, 0 in those that stand by.',
    () => (lease.held() ? 1 : 0)
  )
  metrics.gauge(
    'rayguard_replacement_recovering_seconds',
    'For how long the cluster of the last pod that was replaced has not been whole again; 0 where it is.',
    () => Math.max(0, (clocks.api() - (replacement.recoveringSince() ?? clocks.api())) / 1000)
  )
  readiness.add('clusters', () =>
    clusters.synced() ? undefined : 'the running Ray clusters are not known (yet)'
  )
  const stopping = new AbortController()
  let running: Promise<void> | undefined
  return {
    name: 'replacement',
    async start(signal) {
      clusters.start()
      if (await untilAborted(clusters.whenSynced, signal)) running = run()
    },
    async stop() {
      stopping.abort()
      await running
      await lease.release().catch(() => {})
      await Promise.all([clusters.stop(), recorder.stop()])
    }
  }

  async function run(): Promise<void> {
    let state = ''
    while (!stopping.signal.aborted) {
      // A copy that lags shows pods that are long gone, and none that are new.
      if (clusters.synced()) {
        const now = await replacement.tick().catch(error => {
          log.warn({ err: error }, 'the ends of certificates could not be looked after')
          return 'failed' as const
        })
        if (now !== state) log.info({ state: now }, 'replacement of pods')
        state = now
      }
      const pause = lookEveryMs * (0.75 + random.fraction() / 2)
      await sleep(pause, undefined, { signal: stopping.signal }).catch(() => {})
    }
  }
}

/**
 * Why a pod of the namespace would come back without a certificate, if at all. Attack on availability: it would be without
 * TLS among pods that have it.
 */
export async function objection(
  client: Client,
  calls: Pick<ReturnType<typeof createCalls>, 'namespace'>,
  name: string
): Promise<string | undefined> {
  const [namespace, registration] = await Promise.all([
    calls.namespace(name),
    client.get<WebhookConfiguration>(registrationPath)
  ])
  if (registration === undefined) return 'Rayguard is not registered'
  if (namespace === undefined) return 'there is no such namespace'
  if (isPaused(namespace)) return 'the namespace is paused'
  if (!isCovered(namespace, registration)) return 'Rayguard is not registered for the namespace'
  const resolved = resolveModes({ namespaceLabels: namespace.metadata.labels ?? {} })
  if ('problem' in resolved) return resolved.problem
  return resolved.modes.tls === 'no-tls' ? 'the namespace has TLS disabled' : undefined
}

function replaced({ namespace, name, uid, cluster, agent }: LivePod) {
  const pod: Regarding = { apiVersion: 'v1', kind: 'Pod', namespace, name, uid }
  const of = { pod, cluster: clusterOf(cluster, namespace) }
  return podReplaced(of, agent?.ended === 'well' ? agent.notAfter : '')
}

function namesOf({ namespace, name, uid, cluster, node }: LivePod) {
  return { namespace, pod: name, podUid: uid, rayCluster: cluster.name, node }
}
