/**
 * What pods trust beside the CA that signs them, while that is being replaced: the former CA, or the next.
 *
 * Decides which certificates of the file go with an answer; never which CA signs. Like the CA's own files the file is read
 * again, and what cannot be used leaves the former content in use. There may be no file: most of the time there is nothing
 * to trust beside.
 */
import { type Anchor, isAbove, readAnchors } from '../x509/anchors.ts'
import { readCertificate } from '../x509/certificate.ts'
import type { Chain, ChainOptions } from '../x509/chain.ts'
import { readSinglePem } from '../x509/pem.ts'
import { equalBytes } from '../x509/public-key.ts'
import { areMistakable, authorityKeySha256, oneOfEach } from '../x509/same-authority.ts'
import { type AnchorDescription, type Authority, AuthorityError } from './authority.ts'
import type { AuthorityOptions } from './options.ts'
import { readTextFile } from './pem-files.ts'
import { createReload, type NotLoaded } from './reload.ts'

export interface AlsoTrusted {
  /** PEM of those that go beside these anchors; never one of them, nor one above, of which `chain` knows more. */
  beside(trustAnchors: string, chain?: Chain): string
  /** PEM of all of them. */
  pem(): string
  describe(): AnchorDescription[]
  close(): Promise<void>
}

export interface AlsoTrustedOptions
  extends Pick<AuthorityOptions, 'clock' | 'clusterDomain' | 'pollMs'> {
  /** Told of every load that changed something, the first one included. */
  onReload?(outcome: AlsoTrustedReload): void
  /** Pods are not told of it. */
  onLeftOut?(anchor: AnchorDescription, reason: string): void
}

const reasons = {
  same: 'it is the CA that signs pods, under another subjectKeyIdentifier: let it sign at once, or leave it out',
  above: 'it has signed the CA that signs pods',
  mistakable:
    'it has the name of the CA that signs pods, and no subjectKeyIdentifier tells them apart; it needs another name, or each an identifier of its own'
}

export type AlsoTrustedReload =
  | { loaded: true; anchors: AnchorDescription[]; warnings: string[] }
  | NotLoaded

/** Throws AuthorityError `Invalid` when the file is there and cannot be used. */
export async function openAlsoTrusted(
  file: string,
  options: AlsoTrustedOptions
): Promise<AlsoTrusted> {
  const first = await textOf(file)
  let { anchors, warnings } = usable(first)
  let answered: { trustAnchors: string; chain: Chain | undefined; told: string; pem: string } = {
    trustAnchors: '',
    chain: undefined,
    told: '',
    pem: ''
  }
  const { stop } = createReload<string, AlsoTrustedReload & { loaded: true }>(first, {
    read: () => textOf(file),
    mark: text => text,
    take(text) {
      ;({ anchors, warnings } = usable(text))
    },
    loaded: () => ({ loaded: true, anchors: anchors.map(description), warnings }),
    tell: outcome => options.onReload?.(outcome),
    pollMs: options.pollMs
  })

  return {
    beside(trustAnchors, chain) {
      const told = toldNow()
      const digests = told.map(({ sha256 }) => sha256).join()
      const isKnown =
        answered.trustAnchors === trustAnchors &&
        answered.chain === chain &&
        answered.told === digests
      if (!isKnown) {
        const pem = selected(told, trustAnchors, chain)
        answered = { trustAnchors, chain, told: digests, pem }
      }
      return answered.pem
    },
    pem: () => pemOf(withoutEnded()),
    describe: () => withoutEnded().map(description),
    close: stop
  }

  /** What has ended since the file was read is left out as what had ended then. */
  function withoutEnded(): Anchor[] {
    const now = options.clock()
    return anchors.filter(({ certificate }) => now < certificate.notAfter.getTime())
  }

  /** Of each CA one certificate: pods would refuse every peer when the one that they come upon has ended. */
  function toldNow(): Anchor[] {
    const left = withoutEnded()
    const certificates = left.map(({ certificate }) => certificate)
    const kept = oneOfEach(certificates, options.clock())
    return left.filter(({ certificate }) => kept.includes(certificate))
  }

  function usable(pem: string) {
    const { clock, clusterDomain } = options
    return usableAnchors(pem, {
      now: new Date(clock()),
      ...(clusterDomain === undefined ? {} : { clusterDomain })
    })
  }

  function selected(told: Anchor[], trustAnchors: string, chain: Chain | undefined): string {
    const der = readSinglePem(trustAnchors, 'CERTIFICATE')
    // Several anchors are of an authority that knows itself what is trusted.
    const signing = der === undefined ? undefined : readCertificate(der)
    // By key and name: a root that was made anew has signed all that the former one has.
    const path = [
      ...(signing ? [signing] : []),
      ...(chain?.certificates ?? []),
      ...(chain?.beside ?? [])
    ]
    const others = told.filter(anchor => {
      if (trustAnchors.includes(anchor.pem)) return false
      const isMistakable = signing !== undefined && areMistakable(signing, anchor.certificate)
      // What the CA that signs has signed by another certificate leads to this one as well.
      const isSigning = isMistakable && equalBytes(signing.publicKey, anchor.certificate.publicKey)
      if (isSigning && authorityKeySha256(signing) === anchor.keySha256) return false
      const leftOut = isSigning
        ? reasons.same
        : path.some(lower => isAbove(anchor.certificate, lower))
          ? reasons.above
          : isMistakable && reasons.mistakable
      if (leftOut) options.onLeftOut?.(description(anchor), leftOut)
      return !leftOut
    })
    return pemOf(others)
  }
}

function pemOf(anchors: readonly Anchor[]): string {
  return anchors.map(({ pem }) => pem).join('')
}

/** The same authority, whose certificates come with what is trusted beside its own CA. */
export function withAlsoTrusted(authority: Authority, alsoTrusted: AlsoTrusted): Authority {
  return {
    ...authority,
    async issue(request) {
      const issued = await authority.issue(request)
      return {
        ...issued,
        alsoTrusted: alsoTrusted.beside(issued.trustAnchors, authority.chain?.())
      }
    },
    describe() {
      const own = authority.describe()
      const others = alsoTrusted.describe()
      return {
        ...own,
        alsoTrusted: others.filter(({ anchorSha256 }) => anchorSha256 !== own.anchorSha256)
      }
    }
  }
}

/** Throws AuthorityError `Invalid` with everything that is wrong. */
function usableAnchors(
  pem: string,
  options: ChainOptions
): { anchors: Anchor[]; warnings: string[] } {
  const { anchors, problems, warnings } = readAnchors(pem, options)
  if (problems.length === 0) return { anchors, warnings }
  throw new AuthorityError(
    'Invalid',
    `What is also trusted cannot be used: ${problems.join('; ')}.`
  )
}

async function textOf(file: string): Promise<string> {
  try {
    return await readTextFile(file)
  } catch (error) {
    const { cause } = error as { cause?: NodeJS.ErrnoException }
    if (cause?.code === 'ENOENT') return ''
    throw error
  }
}

function description({ certificate, subject, sha256, keySha256 }: Anchor): AnchorDescription {
  const { notBefore, notAfter } = certificate
  return { subject, anchorSha256: sha256, anchorKeySha256: keySha256, notBefore, notAfter }
}
