/**
 * A small authority for tests: signs with a CA made at run time exactly what it is asked to, unless a test bends it.
 */
import { type KeyObject, randomBytes, sign } from 'node:crypto'
import type { Authority, IssuedCertificate, LeafRequest } from '../../src/authority/authority.ts'
import { signatureAlgorithms } from '../../src/x509/algorithms.ts'
import { readCertificate } from '../../src/x509/certificate.ts'
import { createLeafWriter, randomSerialNumber, serialNumberText } from '../../src/x509/leaf.ts'
import { encodePem, readSinglePem } from '../../src/x509/pem.ts'
import { readPublicKey } from '../../src/x509/public-key.ts'
import type { Issuer } from './hand-made-certificates.ts'

export interface TestAuthority extends Authority {
  namesFrom: 'server' | 'request'
  issued: LeafRequest[]
  /** Changes what is signed, or throws. */
  bend: ((request: LeafRequest) => LeafRequest) | undefined
}

export function createTestAuthority(ca: Issuer): TestAuthority {
  const der = readSinglePem(ca.certificate, 'CERTIFICATE') ?? new Uint8Array()
  const { subject } = readCertificate(der)
  const writer = createLeafWriter({
    subject,
    keyIdentifier: undefined,
    signatureAlgorithm: signatureAlgorithms.ecdsaSha256
  })
  const authority: TestAuthority = {
    namesFrom: 'server',
    issued: [],
    bend: undefined,
    async issue(request) {
      authority.issued.push(request)
      return signed(authority.bend?.(request) ?? request)
    },
    describe: () => ({
      kind: 'test',
      subject: '',
      notAfter: new Date(),
      anchorSha256: '',
      anchorKeySha256: ''
    }),
    async close() {}
  }
  return authority

  function signed({ publicKey, names, purpose, lifetimeSeconds }: LeafRequest): IssuedCertificate {
    const reading = readPublicKey(publicKey)
    if (!reading.allowed) throw new Error('The enrollment let a bad key through.')
    const serialNumber = randomSerialNumber(size => randomBytes(size))
    const now = Math.floor(Date.now() / 1000) * 1000
    const notBefore = new Date(now - 60_000)
    const notAfter = new Date(now + lifetimeSeconds * 1000)
    const toBeSigned = writer.toBeSigned({
      publicKey,
      keyAlgorithm: reading.algorithm,
      names,
      purpose,
      serialNumber,
      notBefore,
      notAfter
    })
    const certificate = writer.certificate(toBeSigned, signature(toBeSigned, ca.key))
    return {
      certificate: encodePem('CERTIFICATE', certificate),
      trustAnchors: ca.certificate,
      serialNumber: serialNumberText(serialNumber),
      notBefore,
      notAfter
    }
  }
}

function signature(bytes: Uint8Array, key: KeyObject): Uint8Array {
  return sign('sha256', bytes, key)
}
