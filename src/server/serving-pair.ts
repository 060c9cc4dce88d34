/**
 * The certificate and key that our own listeners show, from their files.
 *
 * Decides whether a pair can be used: well-formed, belonging together, within its time. Never keeps a bad one.
 */
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import type { ServingPair } from './tls.ts'

export interface LoadedPair extends ServingPair {
  subjectAltName: string
  notAfter: Date
}

export interface PairFiles {
  certificateFile: string
  privateKeyFile: string
}

export type ServingPairErrorCode =
  | 'Unreadable'
  | 'Malformed'
  | 'Mismatch'
  | 'Expired'
  | 'NotYetValid'

export class ServingPairError extends Error {
  readonly code: ServingPairErrorCode
  /** The setting whose file is at fault. */
  readonly setting: string

  constructor(
    code: ServingPairErrorCode,
    setting: keyof PairFiles,
    message: string,
    options?: ErrorOptions
  ) {
    super(message, options)
    this.name = 'ServingPairError'
    this.code = code
    this.setting = `serving.${setting}`
  }
}

export async function readPair(files: PairFiles): Promise<ServingPair> {
  return {
    certificate: await read(files, 'certificateFile'),
    privateKey: await read(files, 'privateKeyFile')
  }
}

/** Throws {@link ServingPairError}. `now` in milliseconds since the epoch. */
export function checkPair(pair: ServingPair, files: PairFiles, now: number): LoadedPair {
  const certificate = parsed('certificateFile', files, 'a PEM certificate', () => {
    return new X509Certificate(pair.certificate)
  })
  const key = parsed('privateKeyFile', files, 'an unencrypted PEM private key', () => {
    return createPrivateKey(pair.privateKey)
  })
  if (!certificate.checkPrivateKey(key)) {
    throw new ServingPairError(
      'Mismatch',
      'privateKeyFile',
      `expected the private key of the certificate in ${files.certificateFile}, found another key in ${files.privateKeyFile}`
    )
  }
  const notAfter = new Date(certificate.validTo)
  const notBefore = new Date(certificate.validFrom)
  if (notAfter.getTime() <= now) {
    throw new ServingPairError(
      'Expired',
      'certificateFile',
      `the certificate in ${files.certificateFile} ended at ${notAfter.toISOString()}`
    )
  }
  if (notBefore.getTime() > now) {
    throw new ServingPairError(
      'NotYetValid',
      'certificateFile',
      `the certificate in ${files.certificateFile} begins at ${notBefore.toISOString()}; is the clock right?`
    )
  }
  return { ...pair, notAfter, subjectAltName: certificate.subjectAltName ?? '' }
}

async function read(files: PairFiles, setting: keyof PairFiles): Promise<string> {
  const file = files[setting]
  try {
    return await readFile(file, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new ServingPairError(
      'Unreadable',
      setting,
      code === 'ENOENT' ? `there is no file ${file}` : `the file ${file} cannot be read (${code})`,
      { cause }
    )
  }
}

/** Without the cause: OpenSSL's words help nobody, and the text it failed on is a key. */
function parsed<T>(setting: keyof PairFiles, files: PairFiles, wanted: string, parse: () => T): T {
  try {
    return parse()
  } catch {
    throw new ServingPairError(
      'Malformed',
      setting,
      `expected ${wanted} in ${files[setting]}, found something else`
    )
  }
}
