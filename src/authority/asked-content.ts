/** What a certificate request in an object asks for, compared with what we would ask. */

import { requestInformation } from '../x509/csr.ts'
import { encodePem, readSinglePem } from '../x509/pem.ts'
import type { PublicKeyAlgorithm } from '../x509/public-key.ts'
import { equalBytes } from '../x509/public-key.ts'

const label = 'CERTIFICATE REQUEST'

/** Base64 of PEM, as `spec.request` has it. */
export function encodeRequest(csr: Uint8Array): string {
  return Buffer.from(encodePem(label, csr)).toString('base64')
}

/** For the name of the object: everything but the signature. */
export function contentOf(csr: Uint8Array): string {
  return Buffer.from(requestInformation(csr) ?? csr).toString('base64')
}

/** The same key, the same names, the same attributes. */
export function asksForSame(request: string | undefined, csr: Uint8Array): boolean {
  const found = readSinglePem(Buffer.from(request ?? '', 'base64').toString('latin1'), label)
  const [one, other] = [found && requestInformation(found), requestInformation(csr)]
  return one !== undefined && other !== undefined && equalBytes(one, other)
}

/** https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/certificate-signing-request-v1/ */
export function leafUsages(algorithm: PublicKeyAlgorithm | undefined): string[] {
  const keyUsages =
    algorithm === 'RSA' ? ['digital signature', 'key encipherment'] : ['digital signature']
  return [...keyUsages, 'server auth', 'client auth']
}

/** Exactly those of the request: cert-manager refuses an object that says something else than its request. */
export const authorityUsages = ['cert sign', 'crl sign']

export function equalUsages(
  found: readonly string[] | null | undefined,
  wanted: readonly string[]
): boolean {
  return [...(found ?? [])].sort().join() === [...wanted].sort().join()
}
