/**
 * The authority over files, which may be replaced while it runs.
 *
 * Decides that a new set is taken only when it is whole and usable; until then the old one goes on signing.
 */
import type { Authority, LoadedOutcome, ReloadOutcome } from './authority.ts'
import { createLocalIssuer, currentIntermediates, type LocalIssuer } from './local.ts'
import type { AuthorityOptions } from './options.ts'
import { openPem, type PemFiles, type PemTexts, readPemFiles } from './pem-files.ts'
import { createReload } from './reload.ts'

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
  let { warnings } = first
  let issuer = issuerOf(first)
  const { reload, stop } = createReload<PemTexts, LoadedOutcome>(first, {
    read: () => readPemFiles(files),
    // Not the texts themselves: the key and its passphrase need not stay in memory twice.
    mark: ({ digest }) => digest,
    take(texts) {
      issuer = issuerOf(texts)
      warnings = texts.warnings
    },
    loaded: () => ({
      loaded: true,
      description: issuer.describe(),
      warnings: [...warnings, ...issuer.chain().warnings]
    }),
    tell: outcome => options.onReload?.(outcome),
    pollMs: options.pollMs
  })
  return {
    namesFrom: 'server',
    issue: request => issuer.issue(request),
    describe: () => issuer.describe(),
    chain: () => issuer.chain(),
    intermediates: currentIntermediates(() => issuer),
    reload,
    close: stop
  }

  function issuerOf(texts: PemTexts): LocalIssuer {
    const { clusterDomain, signsCas = false } = options
    const { chain, key } = openPem(texts, {
      now: new Date(options.clock()),
      signsCas,
      ...(clusterDomain === undefined ? {} : { clusterDomain })
    })
    return createLocalIssuer('pem', chain, key, options)
  }
}
