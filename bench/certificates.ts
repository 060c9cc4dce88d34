/** Throw-away CAs and pairs, made at run time and written to the scratch folder alone. */
import { type KeyObject, randomBytes } from 'node:crypto'
import { createLocalIssuer, type LocalIssuer } from '../src/authority/local.ts'
import { openPemKey } from '../src/authority/pem-key.ts'
import { createAuthorityCertificate } from '../src/x509/ca.ts'
import { readChain } from '../src/x509/chain.ts'
import type { CertificateNames } from '../src/x509/names.ts'
import { makeKeyPair, makeKeyPairSync } from '../src/x509/new-key.ts'

export interface Ca {
  /** PEM. */
  certificate: string
  privateKey: string
  key: KeyObject
  issuer: LocalIssuer
}

export type KeyKind = 'P-256' | 'RSA-2048' | 'RSA-4096'

export const dayMs = 24 * 60 * 60 * 1000

export async function createCa(
  commonName: string,
  kind: KeyKind = 'P-256',
  pathLength = 0
): Promise<Ca> {
  const keys = await makeKeyPair(kind)
  const certificate = await createAuthorityCertificate({
    commonName,
    keys,
    pathLength,
    serialNumber: randomBytes(16),
    notBefore: new Date(Date.now() - dayMs),
    notAfter: new Date(Date.now() + 3650 * dayMs)
  })
  const privateKey = pemOf(keys.privateKey)
  return {
    certificate,
    privateKey,
    key: keys.privateKey,
    issuer: issuerOf(certificate, privateKey)
  }
}

/** As the server itself opens a CA from two PEM files. */
export function issuerOf(certificate: string, privateKey: string): LocalIssuer {
  const reading = readChain(certificate, { now: new Date() })
  if (!reading.usable) throw new Error('The CA of the bench cannot be used.')
  return createLocalIssuer('pem', reading.chain, openPemKey(privateKey), {
    clock: Date.now,
    random: randomBytes
  })
}

export interface ServingPair {
  certificate: string
  privateKey: string
}

/** For a listener on 127.0.0.1. */
export async function createServingPair(ca: Ca): Promise<ServingPair> {
  const keys = makeKeyPairSync()
  const { certificate } = await ca.issuer.issue({
    publicKey: keys.publicKey.export({ type: 'spki', format: 'der' }),
    csr: new Uint8Array(),
    names: { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] },
    lifetimeSeconds: 30 * 24 * 3600
  })
  return { certificate, privateKey: pemOf(keys.privateKey) }
}

/** What a head of a dual-stack cluster is certified for: nobody has many more. */
export const headNames: CertificateNames = {
  dnsNames: ['localhost', 'demo-head-svc.team-a.svc.cluster.local'],
  ipAddresses: ['127.0.0.1', '::1', '10.244.3.17', 'fd00:10:244::3:11']
}

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}
