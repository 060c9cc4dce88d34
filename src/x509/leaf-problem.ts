/** What may be wrong with a certificate that an authority made. */
export type LeafProblemCode =
  | 'Malformed'
  | 'ChainTooLarge'
  | 'PublicKey'
  | 'Subject'
  | 'Names'
  | 'KeyUsage'
  | 'ExtendedKeyUsage'
  | 'BasicConstraints'
  | 'CriticalExtension'
  | 'Dates'
  | 'Lifetime'
  | 'Order'
  | 'Signature'
  | 'Anchor'
  | 'AuthorityKeyIdentifier'
  | 'IssuingCertificate'
  | 'AddressConstraints'

export interface LeafProblem {
  code: LeafProblemCode
  detail: string
}

export function problem(code: LeafProblemCode, detail: string): LeafProblem {
  return { code, detail }
}
