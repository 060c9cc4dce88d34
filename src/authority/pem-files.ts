/**
 * The CA's files: certificates, private key and passphrase, read and judged together.
 *
 * Decides whether what is on the disk now is a whole, usable CA. A set that is half replaced is not.
 */
import { createHash, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { type Chain, type ChainOptions, readChain } from '../x509/chain.ts'
import { AuthorityError } from './authority.ts'
import { intermediateProblem } from './limits.ts'
import { openPemKey, type SigningKey } from './pem-key.ts'

export interface PemFiles {
  certificateFile: string
  privateKeyFile: string
  passphraseFile?: string | undefined
}

export interface PemTexts {
  certificates: string
  privateKey: string
  passphrase: string | undefined
  /** The same for the same three texts. */
  digest: string
  warnings: string[]
}

/** Throws AuthorityError `Invalid` when the file cannot be read. */
export async function readCertificates({
  certificateFile
}: Pick<PemFiles, 'certificateFile'>): Promise<string> {
  return await readTextFile(certificateFile)
}

/** Throws AuthorityError `Invalid` when a file cannot be read. */
export async function readPemFiles(files: PemFiles): Promise<PemTexts> {
  const [certificates, privateKey, passphrase] = await Promise.all([
    readCertificates(files),
    readTextFile(files.privateKeyFile),
    files.passphraseFile === undefined ? undefined : readTextFile(files.passphraseFile)
  ])
  const all = JSON.stringify([certificates, privateKey, passphrase])
  return {
    certificates,
    privateKey,
    digest: createHash('sha256').update(all).digest('base64'),
    // Editors and `echo` end a file with a line break that is no part of the passphrase.
    passphrase: passphrase?.replace(/\r?\n$/, ''),
    warnings: await openToOthers(files.privateKeyFile)
  }
}

/** Throws AuthorityError `Invalid` with everything that is wrong. */
export function openPem(
  texts: PemTexts,
  options: UsableChainOptions
): { chain: Chain; key: SigningKey } {
  const chain = usableChain(texts.certificates, options)
  const key = openPemKey(texts.privateKey, texts.passphrase)
  if (!key.belongsTo(new X509Certificate(chain.issuing.der))) {
    throw new AuthorityError(
      'Invalid',
      `The private key does not belong to the issuing CA, "${chain.subject}".`
    )
  }
  return { chain, key }
}

export interface UsableChainOptions extends ChainOptions {
  /** There must be room for a CA below it. */
  signsCas?: boolean
}

/** Throws AuthorityError `Invalid` with everything that is wrong. */
export function usableChain(pem: string, options: UsableChainOptions): Chain {
  const reading = readChain(pem, options)
  const problems = reading.checks.flatMap(({ problem }) => problem ?? [])
  const unable = options.signsCas && reading.chain ? intermediateProblem(reading.chain) : undefined
  if (reading.usable && unable === undefined) return reading.chain
  if (unable !== undefined) {
    problems.push(`${unable}, as trust: perCluster needs; for trust: shared see docs/trust.md`)
  }
  throw new AuthorityError('Invalid', `The CA cannot be used: ${problems.join('; ')}.`)
}

/** Throws AuthorityError `Invalid` when the file cannot be read. */
export async function readTextFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown'
    throw new AuthorityError('Invalid', `The file ${file} cannot be read (${code}).`, { cause })
  }
}

/** A warning only: where a Secret is mounted without a mode, the pod's own walls keep others out. */
async function openToOthers(file: string): Promise<string[]> {
  const { mode } = await stat(file)
  if ((mode & 0o007) === 0) return []
  return [`The private key ${file} is open to every user of this machine; chmod 0400 it.`]
}
