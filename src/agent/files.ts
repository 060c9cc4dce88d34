import { randomBytes } from 'node:crypto'
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  unlinkSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import { certificateFile, keyFile, trustAnchorsFile } from '../contract/pod.ts'

/**
 * The three files of a pair. All calls are synchronous on purpose: a signal is handled before or after a whole set,
 * never between two of its files.
 */
export interface FileSet {
  key: string
  trustAnchors: string
  certificate: string
}

export class FilesError extends Error {
  readonly code: 'Directory' | 'KeyGroup'

  constructor(code: FilesError['code'], message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'FilesError'
    this.code = code
  }
}

/**
 * Removes what a killed run left and tries whether a key file can be made, before a certificate is asked for. Throws
 * {@link FilesError}.
 */
export function prepareDirectory(directory: string, keyGroup: number | undefined): void {
  guarded(directory, () => {
    // A link in place of the volume would lead the key to somewhere that other containers may read.
    if (!lstatSync(directory).isDirectory()) throw new Error('it is not a directory')
    for (const name of readdirSync(directory))
      if (temporary.test(name)) remove(join(directory, name))
  })
  remove(writeTemporary(directory, keyFile, '', keyMode(keyGroup), keyGroup))
}

/**
 * The old set or the new one. All three are on the disk under other names before the first gets its own; the key comes
 * first and the certificate last, so that a run killed between two renames leaves a pair that does not match, which the
 * next run sees and Ray refuses, never one that looks whole. Throws {@link FilesError}.
 */
export function writeFiles(directory: string, set: FileSet, keyGroup: number | undefined): void {
  const written: [temporary: string, name: string][] = []
  try {
    const write = (name: string, content: string, mode: number, group?: number) => {
      written.push([writeTemporary(directory, name, content, mode, group), name])
    }
    write(keyFile, set.key, keyMode(keyGroup), keyGroup)
    write(trustAnchorsFile, set.trustAnchors, 0o644)
    write(certificateFile, set.certificate, 0o644)
    guarded(directory, () => {
      // rename(2) puts the file in place of a link that was planted there, and never follows it.
      for (const [from, name] of written) renameSync(from, join(directory, name))
      synchronise(directory)
    })
  } catch (error) {
    for (const [from] of written) remove(from)
    throw error
  }
}

/** The set that is there, or `undefined` when a file is missing, is not a plain file, or its key is open to others. */
export function readFiles(directory: string, keyGroup: number | undefined): FileSet | undefined {
  const key = readPlainFile(join(directory, keyFile), keyMode(keyGroup), keyGroup)
  const trustAnchors = readPlainFile(join(directory, trustAnchorsFile), 0o644)
  const certificate = readPlainFile(join(directory, certificateFile), 0o644)
  if (key === undefined || trustAnchors === undefined || certificate === undefined) return undefined
  return { key, trustAnchors, certificate }
}

const temporary = /^\.(?:tls\.key|ca\.crt|tls\.crt)\.[0-9a-f]{16}\.tmp$/
const largestFile = 256 * 1024

/** Without a group only the owner reads the key: Ray runs as the same user. */
function keyMode(keyGroup: number | undefined): number {
  return keyGroup === undefined ? 0o400 : 0o440
}

/** Path of a new file under a name that nobody can foresee, with its mode and group set before it has content. */
function writeTemporary(
  directory: string,
  name: string,
  content: string,
  mode: number,
  group?: number
): string {
  const path = join(directory, `.${name}.${randomBytes(8).toString('hex')}.tmp`)
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
  const descriptor = guarded(directory, () =>
    openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  )
  try {
    if (group !== undefined) changeGroup(descriptor, group)
    guarded(directory, () => {
      fchmodSync(descriptor, mode)
      writeFileSync(descriptor, content)
      fsyncSync(descriptor)
    })
    return path
  } catch (error) {
    remove(path)
    throw error
  } finally {
    closeSync(descriptor)
  }
}

function changeGroup(descriptor: number, group: number): void {
  try {
    fchownSync(descriptor, fstatSync(descriptor).uid, group)
  } catch (error) {
    throw new FilesError(
      'KeyGroup',
      `The key file cannot be given to group ${group}: the container must run with that group (${reason(error)}).`,
      { cause: error }
    )
  }
}

function guarded<T>(directory: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw new FilesError('Directory', `${directory} cannot be written to: ${reason(error)}.`, {
      cause: error
    })
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch {
    // Somebody else's directory under our name, or gone already: neither is in the way.
  }
}

function synchronise(directory: string): void {
  const descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

function readPlainFile(path: string, mode: number, group?: number): string | undefined {
  let descriptor: number
  try {
    // O_NONBLOCK: opening a planted FIFO would wait for ever.
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants
    descriptor = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  } catch {
    return undefined
  }
  try {
    const status = fstatSync(descriptor)
    const ours = status.isFile() && (status.mode & 0o7777) === mode && status.size <= largestFile
    if (!ours || status.uid !== process.getuid?.()) return undefined
    if (group !== undefined && status.gid !== group) return undefined
    return readFileSync(descriptor, 'utf8')
  } finally {
    closeSync(descriptor)
  }
}
