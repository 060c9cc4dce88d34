/**
 * The enrollment server, put together: who asks (identity), who signs (authority), the checks between them, the listener.
 */

import { type AlsoTrusted, withAlsoTrusted } from '../../authority/also-trusted.ts'
import { type Authority, AuthorityError, type ReloadOutcome } from '../../authority/authority.ts'
import { createProbe } from '../../authority/cert-manager/probe.ts'
import { namesFrom, neededRights, openAuthority, protectionKind } from '../../authority/open.ts'
import { openPatiently } from '../../authority/patient.ts'
import { noRefusedPin } from '../../authority/refused-pin.ts'
import { createEnrollment } from '../../enrollment/enroll.ts'
import { createKnownKeys } from '../../enrollment/keys.ts'
import { type EnrollmentObservation, enrollmentRoutes } from '../../enrollment/route.ts'
import { createIdentity } from '../../identity/identity.ts'
import { createPodIndex } from '../../identity/pods.ts'
import { createCalls } from '../../kubernetes/calls.ts'
import { missingRights } from '../../kubernetes/rights.ts'
import { createLiveClusters, type LiveClusters } from '../../live/clusters.ts'
import { limits } from '../../server/limits.ts'
import { createListener } from '../../server/listener.ts'
import { authorityStatus, openedAlsoTrusted } from './also-trusted.ts'
import { clientsStatus, createClients } from './clients.ts'
import {
  type Component,
  ConfigurationError,
  neededImage,
  type Surroundings,
  untilAborted
} from './component.ts'
import { createEvents, enrollmentEvents } from './events.ts'
import { createLifetimes } from './lifetime.ts'
import { gaugePodAnchors } from './pod-anchors.ts'
import { watchRights } from './rights.ts'
import { createServing } from './serving.ts'
import { createTrust, type Trust, type TrustParts } from './trust.ts'

const authorityEveryMs = 5_000

export async function createEnrollmentServer(surroundings: Surroundings): Promise<Component> {
  const { settings, client, readiness, metrics, log, clocks, random } = surroundings
  const serving = await createServing('enrollment', surroundings)
  const alsoTrusted = await openedAlsoTrusted(surroundings)
  const live = liveClusters(surroundings)
  const trust = await trustIn(
    { authority: await opened(surroundings, alsoTrusted), alsoTrusted, clusters: live },
    surroundings
  )
  const { authority } = trust
  const pods = createPodIndex({
    client,
    random: random.fraction,
    clock: clocks.steady,
    onFault(error) {
      log.warn({ watch: 'pods', err: error }, 'a watch failed and is tried again')
    }
  })
  const { injection } = settings
  const { audience, shortNames, checkSourceAddress, quota } = settings.enrollment
  const calls = createCalls(client)
  const knownKeys = createKnownKeys()
  const identity = createIdentity({
    calls,
    pods,
    audience,
    shortNames,
    clusterDomain: settings.kubernetes.clusterDomain,
    images: [neededImage(settings), ...injection.formerImages, ...injection.imageMirrors],
    clock: clocks.wall
  })
  const enrollment = createEnrollment({
    identity,
    authority,
    checkSourceAddress,
    knownKeys,
    lifetimeOf: createLifetimes({ calls, lifetimes: settings.enrollment, clock: clocks.steady }),
    quota,
    clock: clocks.wall
  })
  gaugePodAnchors(authority, live, surroundings)
  const events = createEvents('enrollment', surroundings)
  const tell = enrollmentEvents(events, clocks.wall)
  const clients = createClients({ authority, calls, keys: knownKeys, events }, surroundings)
  const listener = await createListener({
    ...surroundings.common,
    ...settings.listen.enrollment,
    name: 'enrollment',
    serving: serving.initial,
    // Where sources are not checked, many pods may come from one address.
    limits: checkSourceAddress
      ? limits.enrollment
      : {
          ...limits.enrollment,
          connectionsPerAddress: limits.enrollment.maximumConnections
        },
    onReply: status => metrics.reply('enrollment', status),
    register: app =>
      enrollmentRoutes({
        enroll: enrollment.enroll,
        observe(observation) {
          observe(observation, surroundings)
          tell(observation)
        }
      })(app)
  })
  metrics.gauge(
    'rayguard_certificate_requests_in_progress',
    'Requests for certificates that are at work.',
    () => enrollment.concurrent
  )
  metrics.gauge(
    'rayguard_certificate_requests_held',
    'Requests that wait until the address of their pod is visible.',
    () => enrollment.held
  )
  serving.attach(listener)
  let listening = false
  readiness.add('enrollment', () => (listening ? undefined : 'does not listen yet'))
  readiness.add('pods', () =>
    pods.synced() ? undefined : 'the addresses of pods are not known (yet)'
  )
  // Once it is known, an outage is for the answers to tell: it meets all replicas at once, and RayClusters whose CA is in
  // memory here need no authority.
  readiness.add('authority', () => authorityProblem(authority, clocks.wall()), {
    gates: () => authority.describe().anchorSha256 === ''
  })
  const rights = watchRights(async () => {
    const { authority: chosen } = settings
    const ofAuthority = chosen ? neededRights(chosen, surroundings.namespace) : []
    return [...(await identity.checkPermissions()), ...(await missingRights(calls, ofAuthority))]
  }, log)
  readiness.add('rights', rights.problem)

  return {
    name: 'enrollment',
    listener,
    serving,
    about: () => ({
      authority: { ...authorityStatus(authority.describe()), trust: trust.about() },
      clientCertificates: clientsStatus(clients)
    }),
    async start(signal) {
      pods.start()
      live.start()
      trust.start()
      clients?.start()
      serving.start()
      rights.start()
      if (!(await untilAborted(serving.whenUsable, signal))) return
      // Before the watch is there: who comes too early is told to come again.
      const { address, port } = await listener.start()
      listening = true
      log.info({ listener: 'enrollment', address, port }, 'listening')
    },
    async stop() {
      rights.stop()
      await serving.stop()
      await pods.stop()
      await clients?.stop()
      await trust.stop()
      await live.stop()
      await events.stop()
      await authority.close()
      await alsoTrusted?.close()
    }
  }
}

function liveClusters({ client, clocks, random, log }: Surroundings): LiveClusters {
  return createLiveClusters({
    client,
    random: random.fraction,
    clock: clocks.steady,
    onFault(error) {
      log.warn({ watch: 'ray pods', err: error }, 'a watch failed and is tried again')
    }
  })
}

/** Throws {@link ConfigurationError} where the settings or the CA's files are at fault. */
async function opened(
  { settings, namespace, client, clocks, random, metrics, log, lookEveryMs }: Surroundings,
  alsoTrusted: AlsoTrusted | undefined
): Promise<Authority> {
  const chosen = settings.authority
  if (chosen === undefined) throw new ConfigurationError('authority is needed')
  const refusedPin = noRefusedPin(random.bytes)
  const probe = createProbe()
  const open = async () => {
    const found = await openAuthority(chosen, {
      refusedPin,
      probe,
      clock: clocks.wall,
      random: random.bytes,
      clusterDomain: settings.kubernetes.clusterDomain,
      signsCas: settings.trust === 'perCluster',
      pollMs: lookEveryMs,
      lifetimeSeconds: settings.enrollment.lifetimeSeconds,
      cluster: {
        client,
        namespace,
        steadyClock: clocks.steady,
        fraction: random.fraction,
        onFault(error) {
          log.warn(
            { err: error },
            'the requests to the signer cannot be looked after; it is tried again'
          )
        }
      },
      onReload(outcome: ReloadOutcome) {
        metrics.reload('authority', outcome.loaded ? 'done' : 'failed')
        if (!outcome.loaded) {
          log.error(
            { reason: outcome.reason },
            'the changed CA cannot be used; the former one signs on'
          )
          return
        }
        const { description, warnings } = outcome
        metrics.certificateExpiry('authority', description.notAfter)
        log.info({ authority: description }, 'the CA is loaded')
        for (const warning of warnings) log.warn({ warning }, 'the CA could be better kept')
      }
    })
    return alsoTrusted === undefined ? found : withAlsoTrusted(found, alsoTrusted)
  }
  try {
    return await openPatiently({
      open,
      kind: chosen.kind,
      namesFrom: namesFrom(chosen),
      protectionKind: protectionKind(chosen),
      retryMs: authorityEveryMs,
      // Each start of a container would try it once more, until the token is locked.
      mayEnd: () => refusedPin.digest === undefined,
      onFault(error) {
        log.error({ err: error }, 'the authority cannot be reached; it is tried again')
      }
    })
  } catch (error) {
    if (error instanceof AuthorityError && error.code === 'Invalid') {
      throw new ConfigurationError(`authority: ${error.message}`, { cause: error })
    }
    throw error
  }
}

/** Where the settings ask for too much, what was opened is closed: Vault would keep its token, cert-manager a request. */
async function trustIn(parts: TrustParts, surroundings: Surroundings): Promise<Trust> {
  try {
    return createTrust(parts, surroundings)
  } catch (error) {
    await parts.authority.close()
    await parts.alsoTrusted?.close()
    throw error
  }
}

const shortestLifetimeMs = 3_600_000

function authorityProblem(authority: Authority, now: number): string | undefined {
  const problem = authority.problem?.()
  if (problem !== undefined) return problem
  const { notAfter } = authority.describe()
  // The authority signs nothing for less than an hour.
  return notAfter.getTime() <= now + shortestLifetimeMs
    ? `the CA signs no more, it ends at ${notAfter.toISOString()}`
    : undefined
}

function observe(observation: EnrollmentObservation, { metrics, log }: Surroundings): void {
  const { code, outcome, requestId, sourceAddress } = observation
  const { owner: _, ...facts } = outcome.facts
  const { durationSeconds } = outcome
  metrics.issuance({ code, seconds: durationSeconds })
  const line = { code, requestId, sourceAddress, durationSeconds, ...facts }
  if (outcome.allowed) {
    log.info({ ...line, notAfter: outcome.response.notAfter }, 'certificate issued')
    return
  }
  const { reason, cause } = outcome
  const ours = code === 'ApiUnavailable' || code.startsWith('Authority')
  log[ours ? 'error' : 'info'](
    { ...line, reason, ...(cause === undefined ? {} : { err: cause }) },
    'certificate refused'
  )
}
