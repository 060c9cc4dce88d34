/**
 * `rayguard ca show` and `rayguard ca check`: what a CA is, and whether the server would take it.
 *
 * The checks are those of the server, not others that look the same.
 */
import { X509Certificate } from 'node:crypto'
import { AuthorityError } from '../authority/authority.ts'
import { intermediateProblem } from '../authority/limits.ts'
import {
  type PemFiles,
  type PemTexts,
  readCertificates,
  readPemFiles
} from '../authority/pem-files.ts'
import { openPemKey } from '../authority/pem-key.ts'
import { basicConstraintsOf, type Certificate } from '../x509/certificate.ts'
import {
  type Chain,
  type ChainReading,
  fingerprint,
  readChain,
  subjectText
} from '../x509/chain.ts'
import { serialNumberText } from '../x509/leaf.ts'
import { type CommandIo, exitCodes, UsageError } from './command.ts'

export interface Location extends PemFiles {
  clusterDomain: string
}

interface Line {
  title: string
  problem: string | undefined
}

/** The certificates are shown also when they cannot be used; the exit code says whether they can. */
export async function show(location: Location, io: CommandIo): Promise<number> {
  const certificates = await usageErrors(readCertificates(location))
  const reading = readChain(certificates, options(location))
  for (const [at, certificate] of (reading.chain?.certificates ?? []).entries()) {
    io.stdout.write(`${at === 0 ? 'Issuing CA' : `CA ${at} above it`}\n${describe(certificate)}\n`)
  }
  const problems = reading.checks.filter(({ problem }) => problem !== undefined)
  io.stdout.write(
    reading.usable
      ? 'gRPC can use it.\n'
      : `It cannot be used:\n${problems.map(({ problem }) => `  ✗ ${problem}\n`).join('')}`
  )
  return reading.usable ? exitCodes.ok : exitCodes.failed
}

/** `signsCas`: it has to be able to, as for `trust: perCluster`. */
export async function check(
  location: Location,
  { signsCas }: { signsCas: boolean },
  io: CommandIo
): Promise<number> {
  const texts = await usageErrors(readPemFiles(location))
  const reading = readChain(texts.certificates, options(location))
  const ofCas = signsCas ? intermediateLines(reading) : []
  const lines: Line[] = [...reading.checks, ...ofCas, ...keyLines(texts, reading)]
  for (const { title, problem } of lines) {
    io.stdout.write(problem === undefined ? `✓ ${title}\n` : `✗ ${title}: ${problem}\n`)
  }
  for (const warning of [...texts.warnings, ...(reading.chain?.warnings ?? [])])
    io.stderr.write(`warning: ${warning}\n`)
  const passed = lines.every(({ problem }) => problem === undefined)
  if (passed && reading.chain) io.stdout.write(`${ending(reading.chain)}\n`)
  return passed ? exitCodes.ok : exitCodes.failed
}

function options({ clusterDomain }: Location): { now: Date; clusterDomain: string } {
  return { now: new Date(), clusterDomain }
}

async function usageErrors<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading
  } catch (cause) {
    if (cause instanceof AuthorityError) throw new UsageError(cause.message, { cause })
    throw cause
  }
}

function intermediateLines({ chain }: ChainReading): Line[] {
  if (chain === undefined) return []
  const problem = intermediateProblem(chain)
  const wayOut = problem && `${problem}; use another CA, or trust: shared (--trust shared)`
  return [{ title: 'It can sign a CA for each RayCluster (trust: perCluster)', problem: wayOut }]
}

function keyLines(texts: PemTexts, { chain }: ChainReading): Line[] {
  const readable = 'The private key can be read'
  const belongs = 'The private key belongs to the issuing CA'
  try {
    const key = openPemKey(texts.privateKey, texts.passphrase)
    const fits = chain !== undefined && key.belongsTo(new X509Certificate(chain.issuing.der))
    return [
      { title: readable, problem: undefined },
      { title: belongs, problem: fits ? undefined : 'it is the key of another certificate' }
    ]
  } catch (error) {
    if (error instanceof AuthorityError) return [{ title: readable, problem: error.message }]
    throw error
  }
}

const dayMs = 24 * 60 * 60 * 1000

function ending({ notAfter }: Chain): string {
  const days = Math.floor((notAfter.getTime() - Date.now()) / dayMs)
  return `Certificates can be issued until ${notAfter.toISOString()}, for ${days} days.`
}

function describe(certificate: Certificate): string {
  const { pathLength } = basicConstraintsOf(certificate)
  const x509 = new X509Certificate(certificate.der)
  const details = x509.publicKey.asymmetricKeyDetails
  const rows = [
    ['subject', subjectText(certificate.der)],
    ['issuer', x509.issuer?.split('\n').join(', ') ?? ''],
    ['serial', serialNumberText(certificate.serialNumber)],
    ['key', keyText(x509.publicKey.asymmetricKeyType, details)],
    ['valid', `${certificate.notBefore.toISOString()} to ${certificate.notAfter.toISOString()}`],
    ['path length', pathLength === undefined ? 'not limited' : String(pathLength)],
    ['SHA-256', fingerprint(certificate.der)]
  ]
  return rows.map(([name = '', value]) => `  ${name.padEnd(12)} ${value}\n`).join('')
}

function keyText(
  kind: string | undefined,
  details: { namedCurve?: string; modulusLength?: number } | undefined
): string {
  const curve = { prime256v1: 'P-256', secp384r1: 'P-384' }[details?.namedCurve ?? '']
  return (
    curve ??
    details?.namedCurve ??
    (details?.modulusLength === undefined ? String(kind) : `RSA-${details.modulusLength}`)
  )
}
