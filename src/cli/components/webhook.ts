/**
 * The webhook, put together: namespaces from a watch, the pure decision, the route, the listener.
 *
 * Loads neither the authority nor anything that signs.
 */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type AdmissionOutcome, admit } from '../../admission/admit.ts'
import { admissionRoutes } from '../../admission/route.ts'
import type { InjectionSettings } from '../../injection/settings.ts'
import { limits } from '../../server/limits.ts'
import { createListener } from '../../server/listener.ts'
import type { Settings } from '../../settings/load.ts'
import { type Component, ConfigurationError, type Surroundings, untilAborted } from './component.ts'
import { createNamespaceIndex } from './namespaces.ts'

export async function createWebhook(surroundings: Surroundings): Promise<Component> {
  const { settings, readiness, metrics, log, clocks } = surroundings
  const injection = await injectionSettings(settings)
  const namespaces = createNamespaceIndex(surroundings)
  const listener = await createListener({
    ...surroundings.common,
    ...settings.listen.webhook,
    name: 'webhook',
    limits: limits.webhook,
    onReply: status => metrics.reply('webhook', status),
    register: app =>
      admissionRoutes(app, {
        labelsOf: namespaces.labelsOf,
        admit(review, requested) {
          const startedAt = clocks.steady()
          const admission = admit(review, requested, injection)
          metrics.admissionDuration((clocks.steady() - startedAt) / 1000)
          return admission
        },
        observe: outcome => observe(outcome, surroundings)
      })
  })
  let listening = false
  readiness.add('webhook', () => (listening ? undefined : 'does not listen yet'))
  readiness.add('namespaces', () =>
    namespaces.reflector.synced() ? undefined : 'the labels of namespaces are not known (yet)'
  )
  return {
    name: 'webhook',
    listener,
    async start(signal) {
      namespaces.reflector.start()
      // With labels unknown, `required` would be answered as the weaker default.
      if (!(await untilAborted(namespaces.reflector.whenSynced, signal))) return
      const { address, port } = await listener.start()
      listening = true
      log.info({ listener: 'webhook', address, port }, 'listening')
    },
    stop: () => namespaces.reflector.stop()
  }
}

/** Throws {@link ConfigurationError}. */
export async function injectionSettings(settings: Settings): Promise<InjectionSettings> {
  const { serverUrl, serverCaFile, ...rest } = settings.injection
  if (serverUrl === undefined || serverCaFile === undefined) {
    throw new ConfigurationError('injection.serverUrl and injection.serverCaFile are needed')
  }
  const serverCa = await readFile(serverCaFile, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigurationError(
      `injection.serverCaFile: the file ${serverCaFile} cannot be read (${cause.code})`,
      { cause }
    )
  })
  if (!holdsCertificatesAlone(serverCa)) {
    throw new ConfigurationError(
      `injection.serverCaFile: expected PEM certificates and nothing else in ${serverCaFile}`
    )
  }
  return { ...rest, serverUrl, serverCa, tokenAudience: settings.enrollment.audience }
}

/** What is wrong here would stand in every pod, and stop it there. */
function holdsCertificatesAlone(pem: string): boolean {
  const blocks = pem.match(/-----BEGIN [^-]+-----[^-]*-----END [^-]+-----/g) ?? []
  try {
    return (
      blocks.length > 0 &&
      !pem.includes('PRIVATE KEY') &&
      blocks.every(block => new X509Certificate(block).ca)
    )
  } catch {
    return false
  }
}

function observe(outcome: AdmissionOutcome, { metrics, log }: Surroundings): void {
  const { allowed, kind, code, reason, operations, modes, requestUid, namespace, dryRun } = outcome
  metrics.admission({ kind, code: allowed ? 'Allowed' : (code ?? 'Refused') })
  const findings = outcome.findings.slice(0, 20).map(finding => finding.id)
  const line = { kind, code, namespace, requestUid, modes, operations, findings, dryRun }
  if (allowed) log[operations > 0 ? 'info' : 'debug'](line, 'pod admitted')
  else log.info({ ...line, reason }, 'pod refused')
}
