/** The signer of client certificates, put together; off unless the settings ask for it. */
import type { Authority } from '../../authority/authority.ts'
import { createClientJudge } from '../../clients/judge.ts'
import { clientSignerRights } from '../../clients/rights.ts'
import { shownUser } from '../../clients/shown-user.ts'
import { type ClientObservation, createClientSigner } from '../../clients/signer.ts'
import type { ReplicaStatus } from '../../contract/status.ts'
import type { KnownKeys } from '../../enrollment/keys.ts'
import { createSigning } from '../../enrollment/signature.ts'
import { clientCertificateIssued } from '../../events/reasons.ts'
import type { EventRecorder } from '../../events/recorder.ts'
import type { Calls } from '../../kubernetes/calls.ts'
import { missingRights } from '../../kubernetes/rights.ts'
import type { Surroundings } from './component.ts'
import { watchRights } from './rights.ts'

export interface Clients {
  start(): void
  /** Why no requests are answered now. Pods do not hang on it: it makes no replica unready. */
  problem(): string | undefined
  stop(): Promise<void>
}

export function createClients(
  parts: { authority: Authority; calls: Calls; keys: KnownKeys; events: EventRecorder },
  surroundings: Surroundings
): Clients | undefined {
  const { settings, client, clocks, random, log } = surroundings
  const { enabled, lifetimeSeconds, requestsPerUser } = settings.clientCertificates
  if (!enabled) return undefined
  const { authority, calls, keys, events } = parts
  const rights = watchRights(() => missingRights(calls, clientSignerRights), log)
  const signer = createClientSigner({
    client,
    judge: createClientJudge({ calls, keys, perUser: requestsPerUser, clock: clocks.wall }),
    sign: createSigning(authority, clocks.wall),
    lifetimeSeconds,
    observe(observation) {
      observe(observation, surroundings)
      tell(observation, events)
    },
    onFault(error, facts) {
      log.error({ ...facts, err: error }, 'a client certificate has to wait')
    },
    onWatchFault(error) {
      log.warn({ watch: 'client certificates', err: error }, 'a watch failed and is tried again')
    },
    random: random.fraction,
    clock: clocks.steady
  })
  return {
    start() {
      rights.start()
      signer.start()
    },
    problem: () => rights.problem() ?? signer.problem(),
    async stop() {
      rights.stop()
      await signer.stop()
    }
  }
}

export function clientsStatus(
  clients: Clients | undefined
): NonNullable<ReplicaStatus['clientCertificates']> {
  const problem = clients?.problem()
  return { enabled: clients !== undefined, ...(problem === undefined ? {} : { problem }) }
}

function observe(observation: ClientObservation, { metrics, log }: Surroundings): void {
  const { issued, code, ...facts } = observation
  metrics.clientCertificate(code)
  if (issued === undefined) {
    log.info({ code, ...facts }, 'client certificate refused')
    return
  }
  const { serialNumber, notAfter } = issued
  log.info({ code, ...facts, serialNumber, notAfter }, 'client certificate issued')
}

function tell({ issued, ...facts }: ClientObservation, events: EventRecorder): void {
  const { user = '', namespace = '', rayCluster: name = '' } = facts
  if (issued === undefined) return
  const { apiVersion, uid, notAfter, serialNumber } = issued
  const regarding = { apiVersion, kind: 'RayCluster', namespace, name, uid } as const
  events.tell(clientCertificateIssued(regarding, { user: shownUser(user), serialNumber, notAfter }))
}
