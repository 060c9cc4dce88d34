/**
 * The certificate that is asked for to learn the CA of an issuer, which cert-manager tells with each one and in no other
 * place that may be read. Then it is known before the first pod comes, and that the issuer signs at all.
 *
 * Decides that it is one request for as long as the process lives, however often the authority is tried: where a person
 * approves, a new one with each try would never be through. Its key is thrown away at once.
 */
import { makeKeyPair } from '../../x509/new-key.ts'
import { readSinglePem } from '../../x509/pem.ts'
import { createCertificateRequest } from '../../x509/request.ts'
import type { LeafContent } from '../authority.ts'

export type Probe = () => Promise<LeafContent>

export function createProbe(): Probe {
  let asked: Promise<LeafContent> | undefined
  return () => {
    asked ??= newRequest()
    return asked
  }
}

async function newRequest(): Promise<LeafContent> {
  const { privateKey, publicKey } = await makeKeyPair('P-256')
  const names = { dnsNames: ['localhost'], ipAddresses: [] }
  const pem = createCertificateRequest(privateKey, names)
  return {
    csr: readSinglePem(pem, 'CERTIFICATE REQUEST') ?? new Uint8Array(),
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    names,
    lifetimeSeconds: 3600
  }
}
