/**
 * Makes what stands in a serving Secret: a small CA, its successor's cross certificate, the server certificate.
 *
 * P-256 throughout. Decides the form; never when something is due (plan.ts) or where it is kept (keeper.ts).
 */
import { type KeyObject, sign } from 'node:crypto'
import { signatureAlgorithms } from '../x509/algorithms.ts'
import { keyIdentifierOf } from '../x509/certificate.ts'
import { createLeafWriter, randomSerialNumber } from '../x509/leaf.ts'
import { makeKeyPair } from '../x509/new-key.ts'
import { encodePem } from '../x509/pem.ts'
import { type Authority, readAuthority, readLeaf, type ServingLeaf } from './parts.ts'
import { backdateMs, type Profile } from './profile.ts'

export interface Making {
  profile: Profile
  /** Milliseconds since the epoch. */
  now: number
  random: (size: number) => Uint8Array
}

/** A self-signed CA. One more CA may follow below it: the cross certificate of its successor. */
export async function makeAuthority({ profile, now, random }: Making): Promise<Authority> {
  // Loaded when needed, once in years: the library is large, and nothing that serves requests needs it.
  const { createAuthorityCertificate } = await import('../x509/ca.ts')
  const keys = await makeKeyPair('P-256')
  const name = Buffer.from(random(4)).toString('hex')
  const certificate = await createAuthorityCertificate({
    // A name of its own for each, so that no verifier has to tell two CAs apart by their keys.
    commonName: `Rayguard ${profile.component} ${name}`,
    keys,
    pathLength: 1,
    serialNumber: randomSerialNumber(random),
    notBefore: new Date(now - backdateMs),
    notAfter: new Date(now + profile.authorityLifetimeMs)
  })
  return readAuthority(certificate, pemOf(keys.privateKey))
}

/**
 * PEM: the successor's name and key, signed by the former CA. Sent along with the server certificate it leads those who
 * know the former one alone (running pods) to an anchor that they have (RFC 4158 §2.4).
 */
export async function crossSign(
  former: Authority,
  successor: Authority,
  random: Making['random']
): Promise<string> {
  const { createAuthorityCertificate } = await import('../x509/ca.ts')
  const [{ certificate: one }, { certificate: other }] = [former, successor]
  return createAuthorityCertificate({
    commonName: successor.commonName,
    keys: keysOf(successor),
    pathLength: 0,
    serialNumber: randomSerialNumber(random),
    notBefore: new Date(Math.max(one.notBefore.getTime(), other.notBefore.getTime())),
    notAfter: new Date(Math.min(one.notAfter.getTime(), other.notAfter.getTime())),
    issuer: { commonName: former.commonName, keys: keysOf(former) }
  })
}

/** The server certificate for the names of the profile, never longer than its CA. `cross`: PEM that follows it. */
export async function makeLeaf(
  authority: Authority,
  cross: string | undefined,
  { profile, now, random }: Making
): Promise<ServingLeaf> {
  const keys = await makeKeyPair('P-256')
  const algorithm = signatureAlgorithms.ecdsaSha256
  const { certificate } = authority
  const writer = createLeafWriter({
    subject: certificate.subject,
    // Of the certificate and not of its key: the CA may have been made by another program.
    keyIdentifier: keyIdentifierOf(certificate),
    signatureAlgorithm: algorithm,
    usages: 'server'
  })
  const toBeSigned = writer.toBeSigned({
    publicKey: keys.publicKey.export({ type: 'spki', format: 'der' }),
    keyAlgorithm: 'P-256',
    names: { dnsNames: profile.dnsNames, ipAddresses: [] },
    serialNumber: randomSerialNumber(random),
    notBefore: new Date(Math.max(now - backdateMs, certificate.notBefore.getTime())),
    notAfter: new Date(leafEnd(authority, profile, now))
  })
  const signature = sign(algorithm.hash, toBeSigned, authority.privateKey)
  const pem = encodePem('CERTIFICATE', writer.certificate(toBeSigned, signature))
  return readLeaf(pem + (cross ?? ''), pemOf(keys.privateKey))
}

/** When a server certificate that is made now would end. */
export function leafEnd(authority: Authority, profile: Profile, now: number): number {
  return Math.min(now + profile.leafLifetimeMs, authority.certificate.notAfter.getTime())
}

function keysOf({ publicKey, privateKey }: Authority) {
  return { publicKey, privateKey }
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}
