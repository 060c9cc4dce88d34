import { randomBytes, sign } from 'node:crypto'
import { signatureAlgorithmOf } from '../x509/algorithms.ts'
import { createAuthorityCertificate } from '../x509/ca.ts'
import { readChain } from '../x509/chain.ts'
import { createLeafWriter, randomSerialNumber } from '../x509/leaf.ts'
import { makeKeyPairSync } from '../x509/new-key.ts'
import { encodePem } from '../x509/pem.ts'

/** PEM: the pair of the listeners, and who vouches for it. */
export interface ServingPair {
  certificate: string
  privateKey: string
  ca: string
}

/** A pair for `localhost` and both loopback addresses, good for a day, by a CA whose key is forgotten at once. */
export async function createServingPair(now: Date): Promise<ServingPair> {
  const [authority, server] = [makeKeyPairSync(), makeKeyPairSync()]
  const notBefore = new Date(now.getTime() - 300_000)
  const notAfter = new Date(now.getTime() + 86_400_000)
  const ca = await createAuthorityCertificate({
    commonName: 'Rayguard demonstration, listeners',
    keys: authority,
    pathLength: 0,
    serialNumber: randomSerialNumber(randomBytes),
    notBefore,
    notAfter
  })
  const algorithm = signatureAlgorithmOf(authority.privateKey)
  const reading = readChain(ca, { now })
  if (!reading.usable || algorithm === undefined) throw new Error('The new CA cannot be used.')
  const { issuing, keyIdentifier } = reading.chain
  const writer = createLeafWriter({
    subject: issuing.subject,
    keyIdentifier,
    signatureAlgorithm: algorithm
  })
  const toBeSigned = writer.toBeSigned({
    publicKey: server.publicKey.export({ type: 'spki', format: 'der' }),
    keyAlgorithm: 'P-256',
    names: { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1'] },
    serialNumber: randomSerialNumber(randomBytes),
    notBefore,
    notAfter
  })
  const signature = sign(algorithm.hash, toBeSigned, authority.privateKey)
  return {
    certificate: encodePem('CERTIFICATE', writer.certificate(toBeSigned, signature)),
    privateKey: server.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    ca
  }
}
