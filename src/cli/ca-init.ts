/**
 * `rayguard ca init`: new keys, new certificates, new files.
 *
 * Never overwrites: whoever loses a CA's key has to restart every pod that trusts it.
 */
import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { createAuthorityCertificate } from '../x509/ca.ts'
import { type KeyPair, makeKeyPair } from '../x509/new-key.ts'
import { type CommandIo, exitCodes, UsageError } from './command.ts'

export const authorityAlgorithms = ['P-256', 'P-384', 'RSA-2048', 'RSA-3072', 'RSA-4096'] as const

export interface InitOptions {
  directory: string
  commonName: string
  algorithm: (typeof authorityAlgorithms)[number]
  days: number
  intermediate: boolean
  passphraseFile: string | undefined
}

interface NewFile {
  name: string
  text: string
  mode: number
}

const dayMs = 24 * 60 * 60 * 1000
/** Clocks of nodes differ. */
const backdatedMs = 5 * 60 * 1000

export async function init(options: InitOptions, io: CommandIo): Promise<number> {
  const passphrase = await readPassphrase(options.passphraseFile)
  const files = options.intermediate
    ? await rootAndIntermediate(options, passphrase)
    : await rootAlone(options, passphrase)
  const existing = await writeAll(options.directory, files)
  if (existing !== undefined) {
    io.stderr.write(
      `rayguard ca init: ${existing} exists already, and nothing was written. A CA is never overwritten, because ` +
        'pods that trust it would be cut off. Choose another directory, or move the old files away.\n'
    )
    return exitCodes.failed
  }
  for (const { name } of files) io.stdout.write(`${join(options.directory, name)}\n`)
  io.stderr.write(
    `Keep ${options.intermediate ? 'ca.key and root.key' : 'ca.key'} secret: whoever has it can join every Ray cluster ` +
      `that trusts it. See also: rayguard ca check --directory ${options.directory}\n`
  )
  return exitCodes.ok
}

/** A path length of 1 leaves room for one intermediate CA for each Ray cluster. */
async function rootAlone(options: InitOptions, passphrase: string | undefined): Promise<NewFile[]> {
  const keys = await makeKeyPair(options.algorithm)
  const certificate = await createAuthorityCertificate({
    commonName: options.commonName,
    keys,
    pathLength: 1,
    ...fresh(options.days)
  })
  return [keyFile('ca.key', keys, passphrase), certificateFile('ca.crt', certificate)]
}

async function rootAndIntermediate(
  options: InitOptions,
  passphrase: string | undefined
): Promise<NewFile[]> {
  const [rootKeys, keys] = [
    await makeKeyPair(options.algorithm),
    await makeKeyPair(options.algorithm)
  ]
  // The names must differ, or the intermediate would look as if it had signed itself.
  const root = { commonName: `${options.commonName.slice(0, 59)} root`, keys: rootKeys }
  // Both with the same dates: a CA must not outlive the one above it.
  const dates = fresh(options.days)
  const rootCertificate = await createAuthorityCertificate({ ...root, pathLength: 2, ...dates })
  const certificate = await createAuthorityCertificate({
    commonName: options.commonName,
    keys,
    pathLength: 1,
    ...dates,
    serialNumber: randomBytes(16),
    issuer: root
  })
  return [
    keyFile('root.key', rootKeys, passphrase),
    keyFile('ca.key', keys, passphrase),
    certificateFile('root.crt', rootCertificate),
    certificateFile('ca.crt', certificate + rootCertificate)
  ]
}

function fresh(days: number): { serialNumber: Uint8Array; notBefore: Date; notAfter: Date } {
  const now = Math.floor(Date.now() / 1000) * 1000
  return {
    serialNumber: randomBytes(16),
    notBefore: new Date(now - backdatedMs),
    notAfter: new Date(now + days * dayMs)
  }
}

function keyFile(name: string, { privateKey }: KeyPair, passphrase: string | undefined): NewFile {
  const encryption = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase }
  const text = privateKey.export({ type: 'pkcs8', format: 'pem', ...encryption }).toString()
  return { name, text, mode: 0o600 }
}

function certificateFile(name: string, text: string): NewFile {
  return { name, text, mode: 0o644 }
}

async function readPassphrase(file: string | undefined): Promise<string | undefined> {
  if (file === undefined) return undefined
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (cause) {
    throw new UsageError(`--passphrase-file ${file} cannot be read.`, { cause })
  }
  const passphrase = text.replace(/\r?\n$/, '')
  if (passphrase === '') throw new UsageError(`--passphrase-file ${file} is empty.`)
  return passphrase
}

/**
 * All files or none; otherwise the one that was there. Each is written whole beside its place and then linked into it,
 * which fails when something is there, also when two of us run at once.
 */
async function writeAll(directory: string, files: NewFile[]): Promise<string | undefined> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const linked: string[] = []
  for (const { name, text, mode } of files) {
    const target = join(directory, name)
    const temporary = join(directory, `.${name}.${randomBytes(8).toString('hex')}`)
    const handle = await open(temporary, 'wx', mode)
    try {
      await handle.writeFile(text)
      await handle.sync()
      await link(temporary, target)
      linked.push(target)
    } catch (error) {
      for (const file of linked) await unlink(file)
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return target
      throw error
    } finally {
      await handle.close()
      await unlink(temporary)
    }
  }
  return undefined
}
