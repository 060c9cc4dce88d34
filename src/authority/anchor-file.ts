/** The certificate of a CA whose key is elsewhere: what pods trust, from a file that may be replaced while we run. */
import type { Chain, ChainOptions } from '../x509/chain.ts'
import type { AuthorityDescription, LoadedOutcome, ReloadOutcome } from './authority.ts'
import type { AuthorityOptions } from './options.ts'
import { readCertificates, usableChain } from './pem-files.ts'
import { createReload } from './reload.ts'

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
  const first = await readCertificates(files)
  let chain = chainOf(first, options)
  const { reload, stop } = createReload<string, LoadedOutcome>(first, {
    read: () => readCertificates(files),
    mark: text => text,
    take(text) {
      chain = chainOf(text, options)
    },
    loaded: () => loadedChain(kind, chain),
    tell: outcome => options.onReload?.(outcome),
    pollMs: options.pollMs
  })
  return {
    get chain() {
      return chain
    },
    reload,
    close: stop
  }
}

/** Throws AuthorityError `Invalid` with everything that is wrong. */
export function chainOf(certificates: string, options: AuthorityOptions): Chain {
  const { signsCas = false } = options
  return usableChain(certificates, { ...chainOptions(options), signsCas })
}

export function chainOptions({ clock, clusterDomain }: AuthorityOptions): ChainOptions {
  return {
    now: new Date(clock()),
    ...(clusterDomain === undefined ? {} : { clusterDomain })
  }
}

export function loadedChain(kind: string, chain: Chain): LoadedOutcome {
  return { loaded: true, description: descriptionOf(kind, chain), warnings: chain.warnings }
}

export function descriptionOf(kind: string, chain: Chain): AuthorityDescription {
  const { subject, issuing, notAfter, anchorSha256, anchorKeySha256 } = chain
  const { notBefore } = issuing
  return { kind, subject, notBefore, notAfter, anchorSha256, anchorKeySha256 }
}
