import { KubernetesError } from './error.ts'

/** The whole body as text. Throws `TooLarge` as soon as it passes the limit, and reads no further. */
export async function readText(
  body: AsyncIterable<Uint8Array>,
  limitBytes: number
): Promise<string> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body) {
    length += chunk.length
    if (length > limitBytes) throw tooLarge(limitBytes)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks, length).toString('utf8')
}

/** Lines of a body that has no end. Throws `TooLarge` for a line over the limit. */
export async function* readLines(
  body: AsyncIterable<Uint8Array>,
  limitBytes: number
): AsyncGenerator<string> {
  let pending: Uint8Array[] = []
  let length = 0
  for await (const chunk of body) {
    let start = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      pending.push(chunk.subarray(start, end))
      const line = Buffer.concat(pending).toString('utf8')
      pending = []
      length = 0
      start = end + 1
      if (line !== '') yield line
    }
    if (start < chunk.length) pending.push(chunk.subarray(start))
    length += chunk.length - start
    if (length > limitBytes) throw tooLarge(limitBytes)
  }
}

export function tooLarge(limitBytes: number): KubernetesError {
  return new KubernetesError(
    'TooLarge',
    `An answer of the API is longer than the ${limitBytes} bytes that are read.`
  )
}
