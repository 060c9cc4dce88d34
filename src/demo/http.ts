import { request } from 'node:https'

export interface Answer {
  status: number
  body: Record<string, unknown>
}

/** One POST of JSON over TLS that trusts the given CA alone. */
export function post(
  url: string,
  body: unknown,
  options: { ca: string; localAddress?: string; token?: string }
): Promise<Answer> {
  const payload = JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        method: 'POST',
        ca: options.ca,
        agent: false,
        headers: {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(payload),
          ...(options.token === undefined ? {} : { authorization: `Bearer ${options.token}` })
        },
        ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress })
      },
      response => {
        const chunks: Buffer[] = []
        response.on('data', chunk => chunks.push(chunk))
        response.on('end', () => {
          try {
            const text = Buffer.concat(chunks).toString('utf8')
            resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) })
          } catch (cause) {
            reject(new Error(`${url} answered with something else than JSON.`, { cause }))
          }
        })
        response.on('error', reject)
      }
    )
    sent.on('error', reject)
    sent.end(payload)
  })
}
