/**
 * The webhook, put together: namespaces from a watch, the pure decision, the route, the listener.
 *
 * Loads neither the authority nor anything that signs.
 */
import { type AdmissionOutcome, admit } from '../../admission/admit.ts'
import { admissionRoutes } from '../../admission/route.ts'
import { type ValidationOutcome, validate } from '../../admission/validate.ts'
import { limits } from '../../server/limits.ts'
import { createListener } from '../../server/listener.ts'
import { openClientCa } from './client-ca.ts'
import { type Component, type Surroundings, untilAborted } from './component.ts'
import { lifetimeNotice } from './lifetime.ts'
import { createLive } from './live.ts'
import { createNamespaceIndex } from './namespaces.ts'
import { caBundleFromFile } from './registration.ts'
import { currentInjection } from './server-ca.ts'
import { createServing } from './serving.ts'

export async function createWebhook(surroundings: Surroundings): Promise<Component> {
  const { settings, readiness, metrics, log, clocks } = surroundings
  const injection = await currentInjection(surroundings)
  const serving = await createServing('webhook', surroundings)
  const registration = await caBundleFromFile(surroundings)
  const namespaces = createNamespaceIndex(surroundings)
  const clientCa = await openClientCa(surroundings)
  const live = createLive(surroundings, namespaces)
  const listener = await createListener({
    ...surroundings.common,
    ...settings.listen.webhook,
    ...clientCa.options,
    name: 'webhook',
    serving: serving.initial,
    limits: limits.webhook,
    onReply: status => metrics.reply('webhook', status),
    register: app =>
      admissionRoutes(app, {
        labelsOf: namespaces.labelsOf,
        whenKnown: namespaces.whenKnown,
        knowsClusters: live.knows,
        admit(review, requested) {
          const startedAt = clocks.steady()
          const admission = admit(
            review,
            requested,
            injection.settings(),
            live.tlsFor(review),
            lifetimeNotice(requested.namespaceLabels, settings.enrollment)
          )
          metrics.admissionDuration((clocks.steady() - startedAt) / 1000)
          live.answered(review, admission.outcome)
          return admission
        },
        observe: outcome => observe(outcome, surroundings),
        validate: (review, requested) =>
          validate(review, requested, injection.settings(), live.tlsOfCluster(review)),
        observeValidation: outcome => observeValidation(outcome, surroundings)
      })
  })
  serving.attach(listener)
  clientCa.follow(listener)
  let listening = false
  readiness.add('webhook', () => (listening ? undefined : 'does not listen yet'))
  readiness.add('namespaces', () =>
    namespaces.reflector.synced() ? undefined : 'the labels of namespaces are not known (yet)'
  )
  readiness.add('serverCa', () =>
    injection.serverCa.known() ? undefined : (injection.serverCa.problem() ?? 'not read yet')
  )
  return {
    name: 'webhook',
    listener,
    serving,
    async start(signal) {
      namespaces.reflector.start()
      live.start()
      injection.serverCa.start()
      serving.start()
      registration?.start()
      // With labels or live clusters unknown, a pod would be answered by weaker rules, or split from its cluster.
      const known = Promise.all([
        namespaces.reflector.whenSynced,
        live.whenSynced,
        injection.serverCa.whenKnown,
        serving.whenUsable
      ])
      if (!(await untilAborted(known, signal))) return
      const { address, port } = await listener.start()
      listening = true
      log.info({ listener: 'webhook', address, port }, 'listening')
    },
    async stop() {
      clientCa.stop()
      await Promise.all([
        namespaces.reflector.stop(),
        live.stop(),
        injection.serverCa.stop(),
        serving.stop(),
        registration?.stop()
      ])
    }
  }
}

function observe(outcome: AdmissionOutcome, { metrics, log }: Surroundings): void {
  const { allowed, kind, code, reason, operations, modes, requestUid, namespace, dryRun } = outcome
  metrics.admission({ kind, code: allowed ? 'Allowed' : (code ?? 'Refused') })
  const violated = outcome.findings.filter(finding => finding.kind === 'violation')
  metrics.violations(new Set(violated.map(({ id }) => id)))
  const findings = outcome.findings.slice(0, 20).map(finding => finding.id)
  const line = { kind, code, namespace, requestUid, modes, operations, findings, dryRun }
  if (allowed) log[operations > 0 ? 'info' : 'debug'](line, 'pod admitted')
  else log.info({ ...line, reason }, 'pod refused')
}

function observeValidation(outcome: ValidationOutcome, { metrics, log }: Surroundings): void {
  const { kind, result, ids, namespace, requestUid, dryRun } = outcome
  metrics.validation({ kind, result })
  log.debug({ kind, result, ids: ids.slice(0, 20), namespace, requestUid, dryRun }, 'foretold')
}
