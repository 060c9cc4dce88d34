/**
 * DER, the little of it that certificates and requests need (ITU-T X.690): a writer, and a strict reader.
 *
 * The reader takes one spelling of each value only: definite lengths in as few bytes as possible, tags of one byte, no
 * data behind the last element. Two parsers that read the same bytes differently are how a name gets past a check. It
 * reads one level at a time and never recurses, so that deep nesting costs nothing.
 */

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31
} as const

export class DerError extends Error {
  readonly code = 'DerMalformed'

  constructor(message: string) {
    super(message)
    this.name = 'DerError'
  }
}

/** One value: tag, length and all parts of the content in order. */
export function element(tag: number, ...parts: Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const header = length < 0x80 ? 2 : length < 0x100 ? 3 : length < 0x10000 ? 4 : 5
  const bytes = new Uint8Array(header + length)
  bytes[0] = tag
  if (header === 2) bytes[1] = length
  else {
    bytes[1] = 0x80 + header - 2
    for (let at = header - 1, rest = length; at > 1; at--, rest >>>= 8) bytes[at] = rest & 0xff
  }
  let at = header
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}

export const sequence = (...parts: Uint8Array[]): Uint8Array => element(tags.sequence, ...parts)
export const set = (...parts: Uint8Array[]): Uint8Array => element(tags.set, ...parts)
export const octetString = (...parts: Uint8Array[]): Uint8Array =>
  element(tags.octetString, ...parts)
export const nullValue = (): Uint8Array => element(tags.null)
export const booleanTrue = (): Uint8Array => element(tags.boolean, Uint8Array.of(0xff))
export const printableString = (text: string): Uint8Array =>
  element(tags.printableString, new TextEncoder().encode(text))
export const utf8String = (text: string): Uint8Array =>
  element(tags.utf8String, new TextEncoder().encode(text))

/** `[number]` of a CHOICE or a tagged field; constructed when its content is again DER. */
export function contextTag(number: number, form: 'primitive' | 'constructed'): number {
  return (form === 'constructed' ? 0xa0 : 0x80) | number
}

/** A number that is not negative, given as big-endian bytes of any width. */
export function unsignedInteger(bytes: Uint8Array): Uint8Array {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start++
  const digits = bytes.subarray(start)
  const first = digits[0]
  if (first === undefined) return element(tags.integer, Uint8Array.of(0))
  // The first bit is the sign (X.690 §8.3.3).
  return first < 0x80
    ? element(tags.integer, digits)
    : element(tags.integer, Uint8Array.of(0), digits)
}

export function bitString(bytes: Uint8Array, unusedBits = 0): Uint8Array {
  return element(tags.bitString, Uint8Array.of(unusedBits), bytes)
}

export function objectIdentifier(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...others] = dotted.split('.').map(Number)
  const content: number[] = []
  for (const arc of [first * 40 + second, ...others]) {
    const digits = [arc % 128]
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) {
      digits.unshift(0x80 | (rest % 128))
    }
    content.push(...digits)
  }
  return element(tags.objectIdentifier, Uint8Array.from(content))
}

/** UTCTime through the year 2049, GeneralizedTime from 2050 on, both in whole seconds (RFC 5280 §4.1.2.5). */
export function time(date: Date): Uint8Array {
  const iso = date.toISOString()
  const day = iso.slice(0, 4) + iso.slice(5, 7) + iso.slice(8, 10)
  const digits = `${day}${iso.slice(11, 13)}${iso.slice(14, 16)}${iso.slice(17, 19)}Z`
  const year = date.getUTCFullYear()
  return year >= 1950 && year < 2050
    ? element(tags.utcTime, Buffer.from(digits.slice(2), 'latin1'))
    : element(tags.generalizedTime, Buffer.from(digits, 'latin1'))
}

export interface Element {
  tag: number
  content: Uint8Array
  /** Tag, length and content as they stood in the input. */
  whole: Uint8Array
}

/** The one element that the bytes are. Throws {@link DerError}, also for data behind it. */
export function readElement(bytes: Uint8Array, tag?: number): Element {
  const found = elementAt(bytes, 0)
  if (found.whole.length !== bytes.length) throw new DerError('There is data behind the value.')
  if (tag !== undefined && found.tag !== tag) {
    throw new DerError(`A value with tag ${tag} was expected; its tag is ${found.tag}.`)
  }
  return found
}

/** The elements that fill the bytes, in order. Throws {@link DerError}, also for more than `maximum`. */
export function readElements(bytes: Uint8Array, maximum = 256): Element[] {
  const found: Element[] = []
  for (let at = 0; at < bytes.length; ) {
    if (found.length === maximum) throw new DerError(`There are more than ${maximum} values.`)
    const next = elementAt(bytes, at)
    found.push(next)
    at += next.whole.length
  }
  return found
}

function elementAt(bytes: Uint8Array, start: number): Element {
  const tag = bytes[start]
  const first = bytes[start + 1]
  if (tag === undefined || first === undefined) throw new DerError('A value is cut off.')
  if ((tag & 0x1f) === 0x1f) throw new DerError('Tags of more than one byte are not used here.')
  let length = first
  let at = start + 2
  if (first >= 0x80) {
    const width = first - 0x80
    if (width === 0) throw new DerError('A length is indefinite (BER).')
    if (width > 3) throw new DerError('A length is too large.')
    length = 0
    for (let digit = 0; digit < width; digit++) {
      const byte = bytes[at++]
      if (byte === undefined) throw new DerError('A length is cut off.')
      length = length * 256 + byte
    }
    if (length < (width === 1 ? 0x80 : 256 ** (width - 1))) {
      throw new DerError('A length is not in its shortest form.')
    }
  }
  const end = at + length
  if (end > bytes.length) throw new DerError('A value is longer than what holds it.')
  return { tag, content: bytes.subarray(at, end), whole: bytes.subarray(start, end) }
}

/** Dotted form. Throws {@link DerError}. */
export function readObjectIdentifier(content: Uint8Array): string {
  if (content.length === 0 || content.length > 32) {
    throw new DerError('An object identifier has an odd length.')
  }
  const arcs: number[] = []
  let arc = 0
  let fresh = true
  for (const byte of content) {
    if (fresh && byte === 0x80) throw new DerError('An object identifier is not minimal.')
    arc = arc * 128 + (byte & 0x7f)
    if (arc > Number.MAX_SAFE_INTEGER / 128) {
      throw new DerError('An object identifier has a huge part.')
    }
    fresh = byte < 0x80
    if (!fresh) continue
    if (arcs.length === 0) {
      const top = arc < 80 ? Math.floor(arc / 40) : 2
      arcs.push(top, arc - top * 40)
    } else arcs.push(arc)
    arc = 0
  }
  if (!fresh) throw new DerError('An object identifier is cut off.')
  return arcs.join('.')
}

/** The big-endian bytes of a number that is not negative, without the sign byte. Throws {@link DerError}. */
export function readUnsignedInteger(content: Uint8Array): Uint8Array {
  const [first, second = 0] = content
  if (first === undefined || first > 0x7f) throw new DerError('A number is negative or empty.')
  if (first !== 0 || content.length === 1) return content
  if (second < 0x80) throw new DerError('A number is not in its shortest form.')
  return content.subarray(1)
}

/** Throws {@link DerError} for another form than {@link time} writes, or a day that does not exist. */
export function readTime(value: Element): Date {
  const text = Buffer.from(value.content).toString('latin1')
  const short = value.tag === tags.utcTime
  const century = short ? (text < '50' ? '20' : '19') : ''
  const digits = `${century}${text}`
  const iso = digits.replace(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z')
  const date = new Date(iso)
  // Written again it must be the same: Date takes the 30th of February for the 1st of March.
  if (Number.isNaN(date.getTime()) || Buffer.compare(time(date), value.whole) !== 0) {
    throw new DerError('A time is not in the form of RFC 5280, or does not exist.')
  }
  return date
}
