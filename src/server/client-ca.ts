/**
 * The CA whose client certificates alone may connect, from its file, and again when the file has changed.
 *
 * Decides whether the file can be used. Never goes on without the check: while a changed file is wrong the former one holds.
 */
import { X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { type ChangedFiles, createChangedFiles } from './changed-files.ts'

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
  /** Once for each problem, until it is over. */
  onFailed(error: unknown): void
}

export function createClientCaReload({
  file,
  initial,
  use,
  ...told
}: ClientCaReloadOptions): ChangedFiles {
  let current = initial
  return createChangedFiles<string>({
    read: () => readClientCa(file),
    isInUse: ca => ca === current,
    take(ca) {
      use(ca)
      current = ca
    },
    ...told
  })
}
