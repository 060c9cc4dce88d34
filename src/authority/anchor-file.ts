/**
 * The certificate of a CA whose key is elsewhere: what pods trust, from a file that may be replaced while we run.
 *
 * As with the files of a CA of our own, what cannot be used is not taken, and the former one stays.
 */
import type { Chain } from '../x509/chain.ts'
import type { AuthorityDescription, ReloadOutcome } from './authority.ts'
import { type AuthorityOptions, defaultPollMs } from './options.ts'
import { readCertificates, usableChain } from './pem-files.ts'
import { poll } from './poll.ts'

export interface AnchorFile {
  readonly chain: Chain
  /** Looks at the file now. `undefined`: nothing has changed. */
  reload(): Promise<ReloadOutcome | undefined>
  close(): Promise<void>
}

/** Throws AuthorityError `Invalid` when the file is not a usable CA now. */
export async function openAnchorFile(
  kind: string,
  files: { certificateFile: string },
  options: AuthorityOptions
): Promise<AnchorFile> {
  let text = await readCertificates(files)
  let chain = chainOf(text, options)
  let reason: string | undefined
  const tell = (outcome: ReloadOutcome): ReloadOutcome => {
    options.onReload?.(outcome)
    return outcome
  }
  const loaded = () => tell({ loaded: true, description: descriptionOf(kind, chain), warnings: [] })

  async function reload(): Promise<ReloadOutcome | undefined> {
    try {
      const found = await readCertificates(files)
      if (found === text) {
        if (reason === undefined) return undefined
      } else {
        chain = chainOf(found, options)
        text = found
      }
      reason = undefined
      return loaded()
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      if (message === reason) return undefined
      reason = message
      return tell({ loaded: false, reason })
    }
  }

  const stop = poll(options.pollMs ?? defaultPollMs, reload)
  loaded()
  return {
    get chain() {
      return chain
    },
    reload,
    close: stop
  }
}

/** Throws AuthorityError `Invalid` with everything that is wrong. */
export function chainOf(
  certificates: string,
  { clock, clusterDomain, signsCas = false }: AuthorityOptions
): Chain {
  return usableChain(certificates, {
    ...{ now: new Date(clock()), signsCas },
    ...(clusterDomain === undefined ? {} : { clusterDomain })
  })
}

export function descriptionOf(kind: string, chain: Chain): AuthorityDescription {
  const { subject, notAfter, anchorSha256 } = chain
  return { kind, subject, notAfter, anchorSha256 }
}
