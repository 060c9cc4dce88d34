/**
 * Who signs, as the enrollment server has it: opened by the settings, with the CAs of RayClusters below it, and how the server
 * says that it signs nothing.
 */
import { type AlsoTrusted, withAlsoTrusted } from '../../authority/also-trusted.ts'
import { type Authority, AuthorityError, type ReloadOutcome } from '../../authority/authority.ts'
import { createProbe } from '../../authority/cert-manager/probe.ts'
import { namesFrom, openAuthority, protectionKind } from '../../authority/open.ts'
import { openPatiently } from '../../authority/patient.ts'
import { noRefusedPin } from '../../authority/refused-pin.ts'
import type { LiveClusters } from '../../live/clusters.ts'
import { openedAlsoTrusted } from './also-trusted.ts'
import { ConfigurationError, type Surroundings } from './component.ts'
import { createTrust, type Trust } from './trust.ts'

const authorityEveryMs = 5_000

/**
 * Throws {@link ConfigurationError} where the settings or the CA's files are at fault, and closes what it has opened: Vault
 * would keep its token, cert-manager a request.
 */
export async function openTrust(
  clusters: LiveClusters,
  surroundings: Surroundings
): Promise<{ trust: Trust; closeAuthority(): Promise<void> }> {
  const alsoTrusted = await openedAlsoTrusted(surroundings)
  let authority: Authority | undefined
  const closeAuthority = async () => {
    try {
      await authority?.close()
    } finally {
      await alsoTrusted?.close()
    }
  }
  try {
    authority = await opened(surroundings, alsoTrusted)
    const trust = createTrust({ authority, alsoTrusted, clusters }, surroundings)
    authority = trust.authority
    return { trust, closeAuthority }
  } catch (error) {
    await closeAuthority()
    throw error
  }
}

/**
 * Once it is known, an outage is for the answers to tell: it meets all replicas at once, and RayClusters whose CA is in memory
 * here need no authority.
 */
export function checkAuthority(
  authority: Authority,
  { readiness, clocks }: Pick<Surroundings, 'readiness' | 'clocks'>
): void {
  readiness.add('authority', () => authorityProblem(authority, clocks.wall()), {
    gates: () => authority.describe().anchorSha256 === ''
  })
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
