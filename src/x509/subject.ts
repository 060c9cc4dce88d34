/** Subjects of the certificates that have one (RFC 5280 §4.1.2.6): `O=Rayguard` and a CN, never a user's words. */
import {
  DerError,
  objectIdentifier,
  printableString,
  readElement,
  readElements,
  readObjectIdentifier,
  sequence,
  set,
  tags,
  utf8String
} from './der.ts'

export const organization = 'Rayguard'

/**
 * DER, Name. In this order and with these types of strings, as Go's encoder has it: authorities in Go write a subject anew,
 * and the next one that signs the CA of a RayCluster has to come to the same bytes.
 */
export function subjectOf(commonName: string): Uint8Array {
  return sequence(attribute('2.5.4.10', organization), attribute('2.5.4.3', commonName))
}

/** Whatever the order and the types of strings: authorities write it anew. Throws DerError. */
export function isSubjectOf(subject: Uint8Array, commonName: string): boolean {
  const names = subjectNames(subject)
  const wanted = new Map([
    ['2.5.4.10', organization],
    ['2.5.4.3', commonName]
  ])
  return (
    names.length === wanted.size &&
    new Set(names.map(([oid]) => oid)).size === wanted.size &&
    names.every(([oid, text]) => wanted.get(oid) === text)
  )
}

/**
 * Of a certificate for a client outside the pods. No host can have this name, and it names nobody: who asked stands in the
 * request's object and in the log.
 */
export const clientCommonName = 'Ray client'

function attribute(oid: string, text: string): Uint8Array {
  const value = printable.test(text) ? printableString(text) : utf8String(text)
  return set(sequence(objectIdentifier(oid), value))
}

/** X.680 §41.4. */
const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/

/** Type and text of each attribute of a Name. Throws DerError. */
function subjectNames(subject: Uint8Array): [string, string][] {
  return readElements(readElement(subject, tags.sequence).content).flatMap(relative =>
    readElements(readElement(relative.whole, tags.set).content).map(
      (attribute): [string, string] => {
        const [type, value] = readElements(readElement(attribute.whole, tags.sequence).content, 2)
        if (type?.tag !== tags.objectIdentifier || value === undefined) {
          throw new DerError('An attribute of a name is a type and a value.')
        }
        const text = textTags.has(value.tag) ? Buffer.from(value.content).toString('utf8') : ''
        return [readObjectIdentifier(type.content), text]
      }
    )
  )
}

const textTags = new Set<number>([tags.utf8String, tags.printableString])
