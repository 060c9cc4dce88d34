/**
 * The authority over files, which may be replaced while it runs.
 *
 * Decides that a new set is taken only when it is whole and usable; until then the old one goes on signing, for pods that
 * wait for a certificate cannot wait for an administrator. Files are read again and compared: a Secret's mount swaps
 * symbolic links, which file notifications miss.
 */
import type { Authority, ReloadOutcome } from './authority.ts'
import { createLocalIssuer, currentIntermediates, type LocalIssuer } from './local.ts'
import { type AuthorityOptions, defaultPollMs } from './options.ts'
import { openPem, type PemFiles, type PemTexts, readPemFiles } from './pem-files.ts'
import { poll } from './poll.ts'

export interface PemAuthority extends Authority {
  /** Looks at the files now. `undefined`: nothing has changed. */
  reload(): Promise<ReloadOutcome | undefined>
}

/** Throws AuthorityError `Invalid` when the files are not a usable CA now. */
export async function openPemAuthority(
  files: PemFiles,
  options: AuthorityOptions
): Promise<PemAuthority> {
  const first = await readPemFiles(files)
  let issuer = open(first)
  // Not the texts themselves: the key and its passphrase need not stay in memory twice.
  let { digest, warnings } = first
  let reason: string | undefined
  const tell = (outcome: ReloadOutcome): ReloadOutcome => {
    options.onReload?.(outcome)
    return outcome
  }
  const loaded = (): ReloadOutcome =>
    tell({ loaded: true, description: issuer.describe(), warnings })

  function open(from: PemTexts): LocalIssuer {
    const { clusterDomain, signsCas = false } = options
    const { chain, key } = openPem(from, {
      now: new Date(options.clock()),
      signsCas,
      ...(clusterDomain === undefined ? {} : { clusterDomain })
    })
    return createLocalIssuer('pem', chain, key, options)
  }

  /** A set that was refused is tried again each time: its CA may become valid, its key may still be on the way. */
  async function reload(): Promise<ReloadOutcome | undefined> {
    try {
      const found = await readPemFiles(files)
      if (found.digest === digest) {
        if (reason === undefined) return undefined
      } else {
        issuer = open(found)
        digest = found.digest
        warnings = found.warnings
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
    namesFrom: 'server',
    issue: request => issuer.issue(request),
    describe: () => issuer.describe(),
    intermediates: currentIntermediates(() => issuer),
    reload,
    close: stop
  }
}
