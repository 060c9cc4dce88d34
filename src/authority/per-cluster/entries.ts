/**
 * What is kept of each RayCluster: its own CA with the key, or that it is still on the shared one. Pure.
 *
 * Sixteen Secrets hold all of them. Their names are known beforehand, so that the right to read and write Secrets can be
 * limited to them, which it could not for one Secret a RayCluster. All of a namespace stand in one of them, by the first
 * digit of the namespace's digest: so the write that adds a CA also vouches for how many there were.
 */
import { createHash } from 'node:crypto'
import { type Certificate, readCertificate } from '../../x509/certificate.ts'
import { readSinglePem } from '../../x509/pem.ts'
import type { RayClusterReference } from '../authority.ts'

export type Entry = OwnCa | OnSharedCa

export interface OwnCa extends RayClusterReference {
  trust: 'perCluster'
  /** PEM. */
  certificate: string
  key: StoredKey
  /** When it last signed although the setting is `shared`, in milliseconds since the epoch. */
  usedAt?: number
}

/** PKCS#8 in base64: as it is, or sealed by a key of the authority that `sealedBy` names. */
export type StoredKey = { plain: string } | { sealed: string; sealedBy: string }

/** A RayCluster from before the setting became `perCluster`. */
export interface OnSharedCa extends RayClusterReference {
  trust: 'shared'
  usedAt: number
}

/** `damaged`: something stands there that is none. */
export type Found = Entry | 'damaged' | undefined

/** As in an object of the API: texts in base64. */
export type SecretData = Readonly<Record<string, string>>

export const recordSecret = 'rayguard-clusters'
export const entrySecrets: readonly string[] = [...'0123456789abcdef'].map(
  digit => `${recordSecret}-${digit}`
)
/** Below the megabyte of a Secret (https://kubernetes.io/docs/concepts/configuration/secret/), base64 aside. */
const mostBytes = 1000 * 1024
/** What a CA's entry may grow to: signed by RSA-4096, its key sealed. */
const grownBytes = 2000
/** No entry without a CA is as large, and none with one as small. */
const mostWithoutCa = 600

export function secretOf(namespace: string): string {
  return `${recordSecret}-${createHash('sha256').update(namespace).digest('hex').charAt(0)}`
}

/** A UID is a key of the Secret: never of any other form than the API server gives. */
export function isUid(uid: string): boolean {
  return /^[0-9A-Za-z][-._0-9A-Za-z]{0,99}$/.test(uid)
}

export function entryIn(data: SecretData, uid: string): Found {
  if (!Object.hasOwn(data, uid)) return undefined
  try {
    return entryOf(JSON.parse(Buffer.from(data[uid] ?? '', 'base64').toString('utf8')), uid)
  } catch {
    return 'damaged'
  }
}

/** The UIDs of a namespace's RayClusters that have a CA of their own. */
export function ownCasIn(data: SecretData, namespace: string): string[] {
  return Object.keys(data).filter(uid => {
    const found = entryIn(data, uid)
    return (
      typeof found === 'object' && found.trust === 'perCluster' && found.namespace === namespace
    )
  })
}

export function holdsCa(data: SecretData): boolean {
  return Object.keys(data).some(uid => mayBeCa(entryIn(data, uid)))
}

/** Whatever a damaged one was: its CA may be in use. */
export function mayBeCa(found: Found): boolean {
  return found === 'damaged' || found?.trust === 'perCluster'
}

export function withEntry(data: SecretData, entry: Entry): SecretData {
  const { uid, ...rest } = entry
  return { ...data, [uid]: Buffer.from(JSON.stringify(rest)).toString('base64') }
}

export function withoutEntry(data: SecretData, uid: string): SecretData {
  const { [uid]: _, ...others } = data
  return others
}

export function commonNameOf({ uid }: Pick<RayClusterReference, 'uid'>): string {
  return `RayCluster ${uid}`
}

/** `undefined` where it cannot be read. */
export function certificateOf({
  certificate
}: Pick<OwnCa, 'certificate'>): Certificate | undefined {
  const der = readSinglePem(certificate, 'CERTIFICATE')
  try {
    return der && readCertificate(der)
  } catch {
    return undefined
  }
}

/** By what the CAs in it may grow to, so that whatever authority takes over can renew all of them. */
export function isFull(data: SecretData): boolean {
  let size = 0
  for (const [key, text] of Object.entries(data)) {
    const bytes = key.length + (text.length * 3) / 4
    size += bytes > mostWithoutCa ? Math.max(grownBytes, bytes) : bytes
  }
  return size > mostBytes
}

/** Whether it takes a place that the one before has not had: what is there may grow to what it was counted as. */
export function takesPlace(before: Found, next: Entry): boolean {
  if (before === undefined) return true
  return before !== 'damaged' && before.trust === 'shared' && next.trust === 'perCluster'
}

function entryOf(value: unknown, uid: string): Entry | 'damaged' {
  if (typeof value !== 'object' || value === null) return 'damaged'
  const { namespace, name, trust, certificate, key, usedAt } = value as Record<string, unknown>
  if (typeof namespace !== 'string' || typeof name !== 'string') return 'damaged'
  const owner = { namespace, name, uid }
  const used = typeof usedAt === 'number' ? usedAt : undefined
  if (trust === 'shared') return { ...owner, trust, usedAt: used ?? 0 }
  if (trust !== 'perCluster' || typeof certificate !== 'string' || !isStoredKey(key)) {
    return 'damaged'
  }
  return { ...owner, trust, certificate, key, ...(used === undefined ? {} : { usedAt: used }) }
}

function isStoredKey(key: unknown): key is StoredKey {
  if (typeof key !== 'object' || key === null) return false
  const { plain, sealed, sealedBy } = key as Record<string, unknown>
  return typeof plain === 'string' || (typeof sealed === 'string' && typeof sealedBy === 'string')
}
