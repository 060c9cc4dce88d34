/** The files at the user's side: the key for the user alone, and never replaced unless asked. */
import { randomBytes } from 'node:crypto'
import { lstat, mkdir, open, readdir, realpath, rename, rm, rmdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import {
  certificateFile,
  keyFile,
  rayTlsVariables,
  tlsDirectory,
  trustAnchorsFile
} from '../../contract/pod.ts'

export interface Place {
  /** Absolute, and without links: whoever may turn one leads nobody elsewhere afterwards. */
  directory: string
  /** The uppermost of the directories that were not there before. */
  made: string | undefined
}

export const environmentFile = 'env.sh'

/** Before anything is asked for: a certificate that cannot be kept would be one too many. */
export async function placeFor(
  directory: string,
  force: boolean
): Promise<Place | { problem: string }> {
  const path = resolve(directory)
  const made = await mkdir(path, { recursive: true, mode: 0o700 })
  const place = { directory: await realpath(path), made: made && (await realpath(made)) }
  const problem =
    (await linkProblem(path)) ??
    (await ownerProblem(place.directory)) ??
    (force ? undefined : await presentProblem(place.directory))
  if (problem === undefined) return place
  await leavePlace(place)
  return { problem }
}

async function linkProblem(path: string): Promise<string | undefined> {
  if (!(await lstat(path)).isSymbolicLink()) return undefined
  return `${path} is a link; name the directory itself`
}

/**
 * Attack: whoever may write there, lead us elsewhere, or move one of the directories above away, replaces what is sourced
 * later by words of their own. Read as ssh reads the places of its keys.
 */
async function ownerProblem(directory: string): Promise<string | undefined> {
  const self = process.getuid?.()
  // Windows, where modes say nothing.
  if (self === undefined) return undefined
  let at = directory
  for (let below = ''; at !== below; [below, at] = [at, dirname(at)]) {
    const { uid, mode } = await stat(at)
    if (uid !== 0 && uid !== self)
      return `${at} belongs to another user, who could replace what is in it`
    // In a sticky directory of root's, as /tmp, others may take away nothing but their own.
    const sticky = below !== '' && uid === 0 && (mode & 0o1000) !== 0
    if ((mode & 0o022) !== 0 && !sticky)
      return `others may write to ${at}, and could replace what is in it (chmod go-w, or --directory elsewhere)`
  }
  return undefined
}

async function presentProblem(directory: string): Promise<string | undefined> {
  for (const name of [keyFile, certificateFile, trustAnchorsFile, environmentFile]) {
    const path = join(directory, name)
    if (await isThere(path)) return `${path} is there already; --force replaces it`
  }
  return undefined
}

/** Nothing came of it. */
export async function leavePlace({ directory, made }: Place): Promise<void> {
  if (made === undefined) return
  for (let at = directory; at.length >= made.length; at = dirname(at))
    await rmdir(at).catch(() => {})
}

export interface ClientFiles {
  key: string
  certificate: string
  trustAnchors: string
}

/**
 * All are written under other names before the first gets its own. The former certificate goes first and the new one comes
 * last: whenever this is killed, a certificate that is there fits the key beside it.
 */
export async function writeClientFiles(
  { directory }: Place,
  { key, certificate, trustAnchors }: ClientFiles
): Promise<void> {
  const files: [name: string, content: string, mode: number][] = [
    [keyFile, key, 0o600],
    [trustAnchorsFile, trustAnchors, 0o644],
    [environmentFile, environment(directory), 0o644],
    [certificateFile, certificate, 0o644]
  ]
  await removeLeftovers(directory)
  const written: [from: string, to: string][] = []
  try {
    for (const [name, content, mode] of files) {
      const from = join(directory, `.${name}.${randomBytes(8).toString('hex')}.tmp`)
      const file = await open(from, 'wx', mode)
      written.push([from, join(directory, name)])
      await file.writeFile(content).finally(() => file.close())
    }
    await rm(join(directory, certificateFile), { force: true })
    // rename(2) takes the place of a link, and never follows it.
    for (const [from, to] of written) await rename(from, to)
  } finally {
    for (const [from] of written) await rm(from, { force: true })
  }
}

const leftover = /^\.(tls\.key|tls\.crt|ca\.crt|env\.sh)\.[0-9a-f]{16}\.tmp$/

/** Of a run that was killed while it wrote: a key that nobody uses lies about no longer than it has to. */
async function removeLeftovers(directory: string): Promise<void> {
  const names = await readdir(directory)
  for (const name of names.filter(each => leftover.test(each)))
    await rm(join(directory, name), { force: true })
}

function environment(directory: string): string {
  const lines = rayTlsVariables.map(({ name, value }) => {
    const here = value.replace(tlsDirectory, directory)
    return `export ${name}=${shellQuoted(here)}\n`
  })
  return lines.join('')
}

export function shellQuoted(text: string): string {
  return /^[\w/.-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

async function isThere(path: string): Promise<boolean> {
  return await lstat(path).then(
    () => true,
    () => false
  )
}
