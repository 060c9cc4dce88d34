/**
 * PEM (RFC 7468): text around DER.
 *
 * Base64 is taken in its one canonical spelling: what Node's own decoder skips in silence (foreign characters, stray
 * bits) makes a block damaged here.
 */

export interface PemBlock {
  label: string
  der: Uint8Array
}

export function encodePem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('base64')
  let body = ''
  for (let at = 0; at < base64.length; at += 64) body += `${base64.slice(at, at + 64)}\n`
  return `-----BEGIN ${label}-----\n${body}-----END ${label}-----\n`
}

/** All blocks in order; text between them is skipped (RFC 7468 §2). `undefined` when a block is damaged. */
export function readPem(text: string): PemBlock[] | undefined {
  return scan(text)?.blocks
}

/** The DER of the one block with this label, with nothing but blanks around it; otherwise `undefined`. */
export function readSinglePem(text: string, label: string): Uint8Array | undefined {
  const found = scan(text)
  if (found === undefined || found.blocks.length !== 1 || found.outside.trim() !== '') return
  const block = found.blocks[0]
  return block?.label === label ? block.der : undefined
}

const begin = '-----BEGIN '
const dashes = '-----'

function scan(text: string): { blocks: PemBlock[]; outside: string } | undefined {
  const blocks: PemBlock[] = []
  let outside = ''
  let at = 0
  for (;;) {
    const start = text.indexOf(begin, at)
    if (start < 0) return { blocks, outside: outside + text.slice(at) }
    outside += text.slice(at, start)
    const labelEnd = text.indexOf(dashes, start + begin.length)
    if (labelEnd < 0) return undefined
    const label = text.slice(start + begin.length, labelEnd)
    const end = `-----END ${label}-----`
    const bodyEnd = text.indexOf(end, labelEnd + dashes.length)
    if (!/^[A-Z0-9][A-Z0-9 ]{0,63}$/.test(label) || bodyEnd < 0) return undefined
    const der = decodeBase64(text.slice(labelEnd + dashes.length, bodyEnd))
    if (der === undefined) return undefined
    blocks.push({ label, der })
    at = bodyEnd + end.length
  }
}

function decodeBase64(body: string): Uint8Array | undefined {
  const base64 = body.replace(/[ \t\r\n]+/g, '')
  const der = Buffer.from(base64, 'base64')
  return base64 !== '' && der.toString('base64') === base64 ? der : undefined
}
