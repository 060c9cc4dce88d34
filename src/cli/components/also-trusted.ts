/** What pods trust beside the CA that signs, opened as the settings say, with what is told of it. */
import { type AlsoTrusted, openAlsoTrusted } from '../../authority/also-trusted.ts'
import {
  type AnchorDescription,
  type AuthorityDescription,
  AuthorityError
} from '../../authority/authority.ts'
import type { AnchorStatus, AuthorityStatus } from '../../contract/status.ts'
import { ConfigurationError, type Surroundings } from './component.ts'

/** `undefined` where the settings name no file. Throws {@link ConfigurationError}. */
export async function openedAlsoTrusted({
  settings,
  clocks,
  metrics,
  log,
  lookEveryMs
}: Surroundings): Promise<AlsoTrusted | undefined> {
  const file = settings.enrollment.alsoTrustedFile
  if (file === undefined) return undefined
  try {
    return await openAlsoTrusted(file, {
      clock: clocks.wall,
      clusterDomain: settings.kubernetes.clusterDomain,
      pollMs: lookEveryMs,
      onReload(outcome) {
        metrics.reload('alsoTrusted', outcome.loaded ? 'done' : 'failed')
        if (!outcome.loaded) {
          const { reason } = outcome
          log.error({ reason }, 'what is also trusted cannot be used; the former content stays')
          return
        }
        log.info({ alsoTrusted: outcome.anchors }, 'what pods trust beside the CA is loaded')
        for (const warning of outcome.warnings) log.warn({ warning }, 'what is also trusted')
      },
      onLeftOut(anchor, reason) {
        log.error({ anchor, reason }, 'pods are not told of what is also trusted')
      }
    })
  } catch (error) {
    if (!(error instanceof AuthorityError)) throw error
    throw new ConfigurationError(`enrollment.alsoTrustedFile: ${error.message}`, { cause: error })
  }
}

/** For `rayguard ca status`. */
export function authorityStatus(description: AuthorityDescription): AuthorityStatus {
  const { kind, alsoTrusted = [] } = description
  return { kind, ...anchorStatus(description), alsoTrusted: alsoTrusted.map(anchorStatus) }
}

function anchorStatus(description: AnchorDescription): AnchorStatus {
  const { subject, anchorSha256, anchorKeySha256, notBefore, notAfter } = description
  return {
    ...{ subject, anchorSha256, anchorKeySha256, notAfter: notAfter.toISOString() },
    ...(notBefore === undefined ? {} : { notBefore: notBefore.toISOString() })
  }
}
