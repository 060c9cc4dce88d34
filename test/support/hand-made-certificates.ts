/**
 * Certificates with any fault that a test asks for: dates, names, usages and issuers that no honest CA would write.
 * Made at run time; their judges are node:crypto and OpenSSL's handshake.
 */
import { createPublicKey, type KeyObject, randomBytes, sign } from 'node:crypto'
import { encodeAlternativeNames } from '../../src/x509/alternative-names.ts'
import {
  bitString,
  booleanTrue,
  contextTag,
  element,
  objectIdentifier,
  octetString,
  sequence,
  set,
  time,
  unsignedInteger,
  utf8String
} from '../../src/x509/der.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { encodePem } from '../../src/x509/pem.ts'

export interface Issuer {
  commonName: string
  key: KeyObject
  /** PEM. */
  certificate: string
}

export interface Wanted {
  /** Private or public; the public half goes into the certificate. */
  key: KeyObject
  commonName?: string
  dnsNames?: string[]
  ipAddresses?: string[]
  authority?: boolean
  usages?: ('server' | 'client')[]
  notBefore?: Date
  notAfter?: Date
  /** Bytes of a meaningless extension, to make a certificate long. */
  ballast?: number
}

export const minute = 60_000
export const day = 24 * 60 * minute
export const fromNow = (milliseconds: number): Date => new Date(Date.now() + milliseconds)

export function newKey(): KeyObject {
  return makeKeyPairSync().privateKey
}

export function newAuthority(commonName: string, parent?: Issuer): Issuer {
  const key = newKey()
  const self = { commonName, key, certificate: '' }
  return { ...self, certificate: issue(parent ?? self, { key, commonName, authority: true }) }
}

/** PEM of one certificate. */
export function issue(issuer: Issuer, wanted: Wanted): string {
  const algorithm = sequence(objectIdentifier('1.2.840.10045.4.3.2'))
  const body = sequence(
    element(contextTag(0, 'constructed'), unsignedInteger(Uint8Array.of(2))),
    unsignedInteger(randomBytes(16)),
    algorithm,
    name(issuer.commonName),
    sequence(
      time(wanted.notBefore ?? fromNow(-5 * minute)),
      time(wanted.notAfter ?? fromNow(90 * day))
    ),
    wanted.commonName === undefined ? sequence() : name(wanted.commonName),
    publicHalf(wanted.key).export({ type: 'spki', format: 'der' }),
    element(contextTag(3, 'constructed'), sequence(...extensions(wanted)))
  )
  return encodePem(
    'CERTIFICATE',
    sequence(body, algorithm, bitString(sign('sha256', body, issuer.key)))
  )
}

function publicHalf(key: KeyObject): KeyObject {
  return key.type === 'public' ? key : createPublicKey(key)
}

function name(commonName: string): Uint8Array {
  return sequence(set(sequence(objectIdentifier('2.5.4.3'), utf8String(commonName))))
}

const usageOids = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' }

function extensions(wanted: Wanted): Uint8Array[] {
  const {
    authority = false,
    dnsNames = [],
    ipAddresses = [],
    usages = ['server', 'client']
  } = wanted
  const found = [extension('2.5.29.19', authority ? sequence(booleanTrue()) : sequence())]
  if (!authority && usages.length > 0) {
    const oids = usages.map(usage => objectIdentifier(usageOids[usage]))
    found.push(extension('2.5.29.37', sequence(...oids)))
  }
  if (dnsNames.length + ipAddresses.length > 0) {
    found.push(extension('2.5.29.17', encodeAlternativeNames({ dnsNames, ipAddresses })))
  }
  if (wanted.ballast !== undefined) {
    found.push(extension('1.3.6.1.4.1.99999.1', octetString(new Uint8Array(wanted.ballast))))
  }
  return found
}

function extension(oid: string, value: Uint8Array): Uint8Array {
  return sequence(objectIdentifier(oid), octetString(value))
}
