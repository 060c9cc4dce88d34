/**
 * What stands in a serving Secret: the CA that signs, the one that is being announced, the one that was, and the server
 * certificate.
 *
 * Decides what of it can be used, and says of the rest what is wrong. Keys never leave this room but as the Secret itself
 * and as the pair of a listener.
 */
import type { ServingPair } from '../server/tls.ts'
import { isSignedBy } from '../x509/certificate.ts'
import { equalBytes } from '../x509/public-key.ts'
import {
  type Anchor,
  type Authority,
  certificatesIn,
  keyText,
  PartError,
  readAnchor,
  readAuthority,
  readLeaf,
  type ServingLeaf
} from './parts.ts'

export interface ServingState {
  /** The CA of the server certificate. */
  anchor?: Anchor
  /** The same with its key; absent where the key cannot be used. */
  authority?: Authority
  /** The successor while it is announced. */
  next?: Authority
  /** The predecessor while it is still announced. */
  former?: { anchor: Anchor; until: number }
  /** PEM: the CA as certified by its predecessor. */
  cross?: string
  leaf?: ServingLeaf
}

export interface StateReading {
  state: ServingState
  /** `ca.key: expected …, found …` */
  problems: string[]
}

/** As in an object of the API: base64 of UTF-8 texts. */
export type SecretData = Readonly<Record<string, string>>

/** Never throws on what it is given. */
export function readState(data: SecretData): StateReading {
  const problems: string[] = []
  const attempt = <T>(keys: string, read: () => T): T | undefined => {
    try {
      return read()
    } catch (error) {
      if (!(error instanceof PartError)) throw error
      problems.push(`${keys}: ${error.message}`)
      return undefined
    }
  }
  const has = (key: string) => data[key] !== undefined
  const text = (key: string) => Buffer.from(data[key] ?? '', 'base64').toString('utf8')
  const state: ServingState = {}

  const anchor = attempt('ca.crt', () => readAnchor(text('ca.crt')))
  if (anchor) {
    state.anchor = anchor
    const authority = attempt('ca.key', () => readAuthority(anchor.pem, text('ca.key')))
    if (authority) state.authority = authority
  }
  if (has('next-ca.crt') || has('next-ca.key')) {
    const next = attempt('next-ca.crt, next-ca.key', () =>
      readAuthority(text('next-ca.crt'), text('next-ca.key'))
    )
    if (next) state.next = next
  }
  if (has('former-ca.crt')) {
    const former = attempt('former-ca.crt', () => readAnchor(text('former-ca.crt')))
    const until = Date.parse(text('former-until'))
    if (former) state.former = { anchor: former, until: Number.isNaN(until) ? 0 : until }
  }
  if (has('cross.crt') && anchor) {
    const cross = attempt('cross.crt', () => crossOf(text('cross.crt'), anchor))
    if (cross) state.cross = cross
  }
  const leaf = attempt('tls.crt, tls.key', () => readLeaf(text('tls.crt'), text('tls.key')))
  if (leaf) {
    if (anchor === undefined || isUnder(leaf, anchor)) state.leaf = leaf
    else problems.push('tls.crt: expected a certificate by the CA in ca.crt, found another')
  }
  return { state, problems }
}

export function writeState(state: ServingState): SecretData {
  const { anchor, authority, next, former, cross, leaf } = state
  const texts: Record<string, string | undefined> = {
    'ca.crt': anchor?.pem,
    'ca.key': authority && keyText(authority.privateKey),
    'next-ca.crt': next?.pem,
    'next-ca.key': next && keyText(next.privateKey),
    'former-ca.crt': former?.anchor.pem,
    'former-until': former && new Date(former.until).toISOString(),
    'cross.crt': cross,
    'tls.crt': leaf?.chain,
    'tls.key': leaf && keyText(leaf.privateKey)
  }
  return Object.fromEntries(
    Object.entries(texts).flatMap(([key, text]) =>
      text === undefined ? [] : [[key, Buffer.from(text).toString('base64')]]
    )
  )
}

/** PEM: everything that clients have to trust now, the CA that signs first. */
export function bundleOf({ anchor, next, former }: ServingState): string {
  return [anchor, next, former?.anchor].map(each => each?.pem ?? '').join('')
}

export function pairOf({ chain, privateKey }: ServingLeaf): ServingPair {
  return { certificate: chain, privateKey: keyText(privateKey) }
}

function isUnder({ certificate }: ServingLeaf, { certificate: ca, publicKey }: Anchor): boolean {
  return equalBytes(certificate.issuer, ca.subject) && isSignedBy(certificate, publicKey)
}

/** Of another key it would lead nowhere. */
function crossOf(pem: string, anchor: Anchor): string {
  const [certificate, ...others] = certificatesIn(pem)
  if (!certificate || others.length > 0) throw new PartError('expected one certificate')
  if (!equalBytes(certificate.publicKey, anchor.certificate.publicKey)) {
    throw new PartError('expected a certificate for the key of ca.crt, found another')
  }
  return pem
}
