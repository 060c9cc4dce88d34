import { readLines } from './body.ts'
import { codeOfStatus, KubernetesError } from './error.ts'
import type { KubernetesObject } from './objects.ts'

export interface WatchEvent<T> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  object: T
}

const eventBytes = 8 * 1024 * 1024

/** The events of a watch's body: one JSON object a line (https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes). */
export async function* watchEvents<T extends KubernetesObject>(
  body: AsyncIterable<Uint8Array>,
  path: string
): AsyncGenerator<WatchEvent<T>> {
  for await (const line of readLines(body, eventBytes)) {
    const event = parsed(line, path)
    switch (event.type) {
      case 'ADDED':
      case 'MODIFIED':
      case 'DELETED':
      case 'BOOKMARK':
        yield { type: event.type, object: event.object as T }
        break
      case 'ERROR': {
        // A Status comes as an event once the stream has begun with 200.
        const { code, message } = event.object as { code?: number; message?: string }
        throw new KubernetesError(
          codeOfStatus(code ?? 500),
          `watch of ${path}: ${message ?? 'error without a message'}`,
          { status: code }
        )
      }
      default:
        throw new KubernetesError('Invalid', `watch of ${path}: an event of an unknown type.`)
    }
  }
}

function parsed(line: string, path: string): { type: string; object: object } {
  let event: unknown
  try {
    event = JSON.parse(line)
  } catch (cause) {
    throw new KubernetesError('Invalid', `watch of ${path}: JSON was expected.`, { cause })
  }
  const { type, object } = (event ?? {}) as { type?: unknown; object?: unknown }
  if (typeof type !== 'string' || typeof object !== 'object' || object === null)
    throw new KubernetesError('Invalid', `watch of ${path}: an event was expected.`)
  return { type, object }
}
