/**
 * The CA whose client certificates alone may connect, from its file, and again when the file has changed.
 *
 * Decides whether the file can be used. Never goes on without the check: while a changed file is wrong the former one holds.
 */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'

export class ClientCaError extends Error {
  readonly code: 'Unreadable' | 'Malformed'

  constructor(code: 'Unreadable' | 'Malformed', message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ClientCaError'
    this.code = code
  }
}

/** PEM. Throws {@link ClientCaError}. */
export async function readClientCa(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new ClientCaError('Unreadable', `the file ${file} cannot be read (${cause.code})`, {
      cause
    })
  })
  if (!isBundle(text)) {
    throw new ClientCaError(
      'Malformed',
      `expected PEM certificates of CAs and nothing else in ${file}, found something else`
    )
  }
  return text
}

function isBundle(text: string): boolean {
  const blocks = text.match(/-----BEGIN [^-]+-----[^-]*-----END [^-]+-----/g) ?? []
  try {
    return blocks.length > 0 && blocks.every(block => new X509Certificate(block).ca)
  } catch {
    return false
  }
}

export interface ClientCaReloadOptions {
  file: string
  /** What is in use. */
  initial: string
  /** Hands it to the listener; throws where it cannot be used. */
  use(ca: string): void
  onDone(): void
  /** Once for each problem. */
  onFailed(error: unknown): void
}

export interface ClientCaReload {
  /** Looks once. Never throws. */
  look(): Promise<void>
  start(everyMs: number): void
  stop(): void
}

export function createClientCaReload(options: ClientCaReloadOptions): ClientCaReload {
  let current = options.initial
  let reported: string | undefined
  let timer: NodeJS.Timeout | undefined

  return {
    look,
    start(everyMs) {
      timer = setInterval(() => void look(), everyMs)
      timer.unref()
    },
    stop() {
      clearInterval(timer)
    }
  }

  async function look(): Promise<void> {
    try {
      const ca = await readClientCa(options.file)
      if (ca === current) return
      options.use(ca)
      current = ca
      reported = undefined
      options.onDone()
    } catch (error) {
      const { message } = error as Error
      if (message === reported) return
      reported = message
      options.onFailed(error)
    }
  }
}
