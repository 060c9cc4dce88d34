/**
 * The value of a subjectAltName extension (RFC 5280 §4.2.1.6), written and read.
 *
 * The reader knows host names and addresses alone. Any other kind of name makes the whole value odd: a reader that
 * skips what it cannot show lets a name through that nobody saw.
 */
import { contextTag, element, readElement, readElements, sequence, tags } from './der.ts'
import { addressFromBytes, addressToBytes, type CertificateNames } from './names.ts'

export const subjectAlternativeNameOid = '2.5.29.17'

const dnsTag = contextTag(2, 'primitive')
const addressTag = contextTag(7, 'primitive')
/** A pod has a handful of names; a CSR with more is noise. */
const maximumNames = 64

/** Names must be canonical; a malformed one is a programmer's fault and throws TypeError. */
export function encodeAlternativeNames(names: CertificateNames): Uint8Array {
  return sequence(
    ...names.dnsNames.map(name => element(dnsTag, Buffer.from(name, 'latin1'))),
    ...names.ipAddresses.map(address => {
      const bytes = addressToBytes(address)
      if (bytes === undefined) throw new TypeError('An IP address was expected.')
      return element(addressTag, bytes)
    })
  )
}

/**
 * The names as they are spelt in the bytes, duplicates included; `undefined` if there is any that is neither dNSName
 * nor iPAddress, or none at all. Throws DerError.
 */
export function readAlternativeNames(value: Uint8Array): CertificateNames | undefined {
  const dnsNames: string[] = []
  const ipAddresses: string[] = []
  for (const { tag, content } of readElements(
    readElement(value, tags.sequence).content,
    maximumNames
  )) {
    if (tag === dnsTag) {
      dnsNames.push(Buffer.from(content).toString('latin1'))
    } else {
      const address = tag === addressTag ? addressFromBytes(content) : undefined
      if (address === undefined) return undefined
      ipAddresses.push(address)
    }
  }
  return dnsNames.length + ipAddresses.length > 0 ? { dnsNames, ipAddresses } : undefined
}
