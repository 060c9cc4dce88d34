/**
 * Names in certificates: DNS names and IP addresses in one canonical spelling, and their comparison as sets.
 *
 * Decides what a well-formed name is (RFC 1123 §2.1, RFC 4291 §2.2, RFC 5952); never which names a pod may hold.
 * Odd input is answered with `undefined`, never with an exception.
 */
import { isIPv4, isIPv6 } from 'node:net'

/** Canonical (lower-case DNS, RFC 5952 addresses), without duplicates. */
export interface CertificateNames {
  dnsNames: string[]
  ipAddresses: string[]
}

/** Both lists canonical and without duplicates, in the order given; `undefined` if any name is not well-formed. */
export function canonicalNames(names: CertificateNames): CertificateNames | undefined {
  const dnsNames = new Set<string>()
  for (const name of names.dnsNames) {
    const canonical = canonicalDnsName(name)
    if (canonical === undefined) return undefined
    dnsNames.add(canonical)
  }
  const ipAddresses = new Set<string>()
  for (const address of names.ipAddresses) {
    const canonical = canonicalAddress(address)
    if (canonical === undefined) return undefined
    ipAddresses.add(canonical)
  }
  return { dnsNames: [...dnsNames], ipAddresses: [...ipAddresses] }
}

/** The same names in any order. Compares spellings, so both sides must be canonical. */
export function equalNames(one: CertificateNames, other: CertificateNames): boolean {
  return equalSets(one.dnsNames, other.dnsNames) && equalSets(one.ipAddresses, other.ipAddresses)
}

function equalSets(one: string[], other: string[]): boolean {
  const left = new Set(one)
  const right = new Set(other)
  return left.size === right.size && [...left].every(name => right.has(name))
}

const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/**
 * Lower-case host name of RFC 1123 labels, or `undefined`. No wildcard, no trailing dot, no underscore. A last label of
 * digits alone is refused: `10.0.0.1` as a DNS name is an address that some verifiers take for one (RFC 1123 §2.1).
 */
export function canonicalDnsName(name: string): string | undefined {
  if (typeof name !== 'string' || name.length === 0 || name.length > 253) return undefined
  // Not toLowerCase() first: U+212A (Kelvin sign) would become an ASCII k.
  if (!/^[A-Za-z0-9.-]+$/.test(name)) return undefined
  const lower = name.toLowerCase()
  const labels = lower.split('.')
  if (!labels.every(part => label.test(part))) return undefined
  return /^\d+$/.test(labels.at(-1) ?? '') ? undefined : lower
}

/**
 * RFC 5952 spelling, or `undefined`. An IPv4-mapped IPv6 address becomes the IPv4 address that it is (RFC 4291
 * §2.5.5.2): otherwise one address would have two names, and a comparison could be passed by the other one. Zones
 * (`fe80::1%eth0`) are refused, they mean nothing outside their host.
 */
export function canonicalAddress(address: string): string | undefined {
  // Four decimal numbers without leading zeros have no other spelling.
  if (typeof address === 'string' && isIPv4(address)) return address
  const bytes = addressToBytes(address)
  if (bytes === undefined) return undefined
  return addressFromBytes(isMapped(bytes) ? bytes.subarray(12) : bytes)
}

/** 4 or 16 bytes as an iPAddress name holds them (RFC 5280 §4.2.1.6); a mapped address stays one of 16. */
export function addressToBytes(address: string): Uint8Array | undefined {
  if (typeof address !== 'string') return undefined
  if (isIPv4(address)) return Uint8Array.from(address.split('.'), Number)
  if (!isIPv6(address) || address.includes('%')) return undefined
  return ipv6Bytes(address)
}

/** RFC 5952 spelling of exactly these bytes (a mapped address as `::ffff:10.0.0.1`, §5); `undefined` for another width. */
export function addressFromBytes(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return bytes.join('.')
  if (bytes.length !== 16) return undefined
  if (isMapped(bytes)) return `::ffff:${bytes.subarray(12).join('.')}`
  const groups: number[] = []
  for (let at = 0; at < 16; at += 2) groups.push(((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0))
  const zeros = longestZeros(groups)
  const written = groups.map(group => group.toString(16))
  if (zeros.length < 2) return written.join(':')
  const before = written.slice(0, zeros.start).join(':')
  return `${before}::${written.slice(zeros.start + zeros.length).join(':')}`
}

/** `address` has passed isIPv6, so every part is known to be well-formed. */
function ipv6Bytes(address: string): Uint8Array {
  const [head = '', tail] = address.split('::')
  const left = groupBytes(head)
  const right = groupBytes(tail ?? '')
  const bytes = new Uint8Array(16)
  bytes.set(left)
  bytes.set(right, 16 - right.length)
  return bytes
}

function groupBytes(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap(group => {
    if (group.includes('.')) return group.split('.').map(Number)
    const value = Number.parseInt(group, 16)
    return [value >> 8, value & 0xff]
  })
}

function isMapped(bytes: Uint8Array): boolean {
  return (
    bytes.length === 16 &&
    bytes[10] === 0xff &&
    bytes[11] === 0xff &&
    bytes.subarray(0, 10).every(byte => byte === 0)
  )
}

/** The first of the longest runs (RFC 5952 §4.2.3). */
function longestZeros(groups: number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  let start = 0
  groups.forEach((group, at) => {
    if (group !== 0) start = at + 1
    else if (at + 1 - start > best.length) best = { start, length: at + 1 - start }
  })
  return best
}
