/**
 * The enrollment server, put together: who asks (identity), who signs (authority), the checks between them, the listener.
 */

import { neededRights } from '../../authority/open.ts'
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
import { authorityStatus } from './also-trusted.ts'
import { checkAuthority, openTrust } from './authority.ts'
import { clientsStatus, createClients } from './clients.ts'
import { type Component, neededImage, type Surroundings, untilAborted } from './component.ts'
import { createEvents, enrollmentEvents } from './events.ts'
import { createLifetimes } from './lifetime.ts'
import { gaugePodAnchors } from './pod-anchors.ts'
import { watchRights } from './rights.ts'
import { createServing } from './serving.ts'

export async function createEnrollmentServer(surroundings: Surroundings): Promise<Component> {
  const { settings, client, readiness, metrics, log, clocks, random } = surroundings
  const serving = await createServing('enrollment', surroundings)
  const live = liveClusters(surroundings)
  const { trust, closeAuthority } = await openTrust(live, surroundings)
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
  checkAuthority(authority, surroundings)
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
      await closeAuthority()
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
