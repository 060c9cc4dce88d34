/**
 * Which certificate of its issuer a certificate names (RFC 5280 §4.2.1.1).
 *
 * Decides as OpenSSL and BoringSSL do: an issuer is one only where all that is named is its own, whatever its name and key
 * are. What differs is signed well and fails in every handshake.
 */
import { type Certificate, extensionOids, keyIdentifierOf } from './certificate.ts'
import { contextTag, readElement, readElements, readUnsignedInteger, tags } from './der.ts'
import { equalBytes } from './public-key.ts'

/** What of it is another's, if any; never what is not named. Throws DerError. */
export function foreignIdentifier(
  { extensions }: Certificate,
  issuer: Certificate
): 'key identifier' | 'serial number' | 'issuer' | undefined {
  const extension = extensions.get(extensionOids.authorityKeyIdentifier)
  if (extension === undefined) return undefined
  const fields = readElements(readElement(extension.value, tags.sequence).content)
  const field = (number: number, form: 'primitive' | 'constructed' = 'primitive') =>
    fields.find(({ tag }) => tag === contextTag(number, form))?.content
  const [keyIdentifier, names, serial] = [field(0), field(1, 'constructed'), field(2)]
  if (isAnother(keyIdentifier, keyIdentifierOf(issuer))) return 'key identifier'
  if (isAnother(serial && readUnsignedInteger(serial), issuer.serialNumber)) return 'serial number'
  return isAnother(names && directoryName(names), issuer.issuer) ? 'issuer' : undefined
}

function isAnother(named: Uint8Array | undefined, own: Uint8Array | undefined): boolean {
  return named !== undefined && own !== undefined && !equalBytes(named, own)
}

/** DER, Name: of the kinds of names the only one that a certificate's issuer has. */
function directoryName(generalNames: Uint8Array): Uint8Array | undefined {
  return readElements(generalNames).find(({ tag }) => tag === contextTag(4, 'constructed'))?.content
}
