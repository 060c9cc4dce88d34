/** What came back, judged before anything is written: it must be of use with this key, and no more than was asked for. Pure. */
import type { KeyObject } from 'node:crypto'
import { readCertificates } from '../../agent/certificates.ts'
import { encodePem } from '../../x509/pem.ts'

export type CheckedAnswer =
  | { certificate: string; trustAnchors: string; notAfter: string }
  | { problem: string }

const clientAuthentication = '1.3.6.1.5.5.7.3.2'

/** `pem`: the certificate, then what is to be trusted; the first of that has signed it. */
export function checkAnswer(pem: string, key: KeyObject, now: number): CheckedAnswer {
  const [leaf, ...anchors] = readCertificates(pem) ?? []
  const [issuer] = anchors
  if (leaf === undefined || issuer === undefined)
    return { problem: 'the answer is not a certificate and the CAs to trust' }
  if (!leaf.checkPrivateKey(key)) return { problem: 'the certificate is for another key' }
  if (!leaf.checkIssued(issuer) || !leaf.verify(issuer.publicKey))
    return { problem: 'the certificate is not signed by the CA that came with it' }
  if (leaf.keyUsage?.join() !== clientAuthentication)
    return { problem: 'the certificate is not for clients alone' }
  if (Date.parse(leaf.validFrom) > now || Date.parse(leaf.validTo) <= now)
    return {
      problem: `the certificate is valid from ${leaf.validFrom} to ${leaf.validTo}, not now`
    }
  const encode = ({ raw }: { raw: Buffer }) => encodePem('CERTIFICATE', raw)
  return {
    certificate: encode(leaf),
    trustAnchors: anchors.map(encode).join(''),
    notAfter: new Date(leaf.validTo).toISOString()
  }
}
