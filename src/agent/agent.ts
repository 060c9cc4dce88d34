/**
 * The in-pod program: makes a key, asks the enrollment server for its certificate until it has one, writes three files.
 *
 * Decides between "again" and "never", and whether an answer is fit to be written. It never leaves the key anywhere but
 * in its file, never trusts a server by anything but the CA that the patch gave it, and never ends on a fault that may
 * pass: KubeRay makes a new pod two seconds after one has failed.
 */
import type { KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type CertificateRequest, maximumBodyBytes } from '../contract/enrollment.ts'
import { type CertificateNames, equalNames } from '../x509/names.ts'
import { createCertificateRequest } from '../x509/request.ts'
import { type Again, type Answer, type Never, readAnswer } from './answer.ts'
import { delayBefore } from './backoff.ts'
import { type CheckedPair, checkPair } from './certificates.ts'
import { type ExchangeTimeouts, exchange } from './exchange.ts'
import { FilesError, prepareDirectory, writeFiles } from './files.ts'
import type { Journal } from './journal.ts'
import { findKeptPair } from './kept.ts'
import { encodeKey, generateKey } from './key.ts'
import type { EnrollOptions } from './options.ts'

export interface Surroundings {
  /** Milliseconds since 1970. */
  now(): number
  /** In [0, 1). */
  random(): number
  sleep(milliseconds: number): Promise<void>
  journal: Journal
  timeouts?: ExchangeTimeouts
}

export type Enrolled =
  | { kind: 'kept' | 'issued'; pair: CheckedPair }
  | { kind: 'refused'; code: string; message: string; requestId?: string }

/** Resolves when the files are there or never will be; until then it asks again, for ever. */
export async function enroll(options: EnrollOptions, around: Surroundings): Promise<Enrolled> {
  try {
    prepareDirectory(options.directory, options.keyGroup)
    const kept = findKeptPair(options, around.now())
    if (kept !== undefined) return { kind: 'kept', pair: kept }

    const privateKey = await generateKey(options.keyAlgorithm)
    const outcome = await askUntilAnswered(options, privateKey, around)
    if (outcome.kind === 'never') return refused(outcome)

    const { certificate, trustAnchors } = outcome.pair
    const files = { key: encodeKey(privateKey), certificate, trustAnchors }
    writeFiles(options.directory, files, options.keyGroup)
    return outcome
  } catch (error) {
    if (error instanceof FilesError) {
      return { kind: 'refused', code: error.code, message: error.message }
    }
    throw error
  }
}

type Try = { kind: 'issued'; pair: CheckedPair } | Again | Never

async function askUntilAnswered(
  options: EnrollOptions,
  privateKey: KeyObject,
  around: Surroundings
): Promise<Exclude<Try, Again>> {
  for (let tries = 1; ; tries += 1) {
    const outcome = await tryOnce(options, privateKey, around)
    if (outcome.kind !== 'again') return outcome
    const retryInMs = delayBefore(tries, around.random(), outcome.retryAfterMs)
    around.journal.writeFailure({
      level: 'warn',
      message: `No certificate yet: ${outcome.detail}`,
      code: outcome.code,
      ...(outcome.requestId === undefined ? {} : { requestId: outcome.requestId }),
      try: tries,
      retryInMs
    })
    await around.sleep(retryInMs)
  }
}

/**
 * One certificate request; a second one within the same try where the authority wants the names in it. Each try starts
 * without names, because those of the last one may have changed meanwhile.
 */
async function tryOnce(
  options: EnrollOptions,
  privateKey: KeyObject,
  around: Surroundings
): Promise<Try> {
  const first = await ask(options, privateKey, around)
  if (first.kind !== 'names') return settle(first, options, privateKey, around)

  const lacking = options.podIPs.filter(address => !first.names.ipAddresses.includes(address))
  if (lacking.length > 0) {
    // A request for other addresses alone would be somebody else's certificate.
    return again('NamesRequired', `The server wants a request without ${lacking.join(', ')}.`)
  }
  const second = await ask(options, privateKey, around, first.names)
  if (second.kind === 'names') {
    const same = equalNames(first.names, second.names)
    const detail = same
      ? 'The server asks again for the names that the request has.'
      : 'The names of the pod are changing.'
    return again('NamesRequired', detail)
  }
  if (second.kind === 'never' && second.code === 'NamesMismatch') {
    // We asked for what we were told a moment ago: the names have changed since.
    return { ...second, kind: 'again' }
  }
  return settle(second, options, privateKey, around)
}

function again(code: string, detail: string): Again {
  return { kind: 'again', code, detail }
}

/** The token is read at each try: the kubelet replaces it before it expires. */
async function ask(
  options: EnrollOptions,
  privateKey: KeyObject,
  around: Surroundings,
  names?: CertificateNames
): Promise<Answer> {
  const token = readToken(options.tokenFile)
  if (token === undefined) {
    return again('TokenFile', `${options.tokenFile} cannot be read or holds no token.`)
  }
  const request: CertificateRequest = {
    csr: createCertificateRequest(privateKey, names),
    podIPs: options.podIPs
  }
  const body = JSON.stringify(request)
  if (Buffer.byteLength(body) > maximumBodyBytes) {
    return again(
      'NamesRequired',
      'A request for the names that the server wants would be too long.'
    )
  }
  const target = around.timeouts === undefined ? options : { ...options, timeouts: around.timeouts }
  return readAnswer(await exchange(target, token, body), around.now())
}

function readToken(file: string): string | undefined {
  try {
    const token = readFileSync(file, 'utf8').trim()
    // RFC 6750 §2.1. Anything else would be refused by the HTTP client with the header's content in sight.
    return /^[\w.~+/-]+=*$/.test(token) && token.length <= maximumBodyBytes ? token : undefined
  } catch {
    return undefined
  }
}

/** A certificate that Ray could not work with is not written. Another one may be right, but there is no hurry for it. */
const wrongCertificateDelayMs = 30_000

function settle(
  answer: Exclude<Answer, { kind: 'names' }>,
  options: EnrollOptions,
  privateKey: KeyObject,
  around: Surroundings
): Try {
  if (answer.kind !== 'issued') return answer
  const now = around.now()
  const { certificate, trustAnchors } = answer.response
  const checked = checkPair({
    certificate,
    trustAnchors,
    privateKey,
    podIPs: options.podIPs,
    now
  })
  if (checked.usable) return { kind: 'issued', pair: checked.pair }
  const skew = checked.code === 'CertificateDates' ? describeSkew(answer.serverDate, now) : ''
  return {
    kind: 'again',
    code: checked.code,
    detail: `${checked.detail}${skew}`,
    retryAfterMs: wrongCertificateDelayMs
  }
}

function describeSkew(serverDate: Date | undefined, now: number): string {
  if (serverDate === undefined) return ''
  const seconds = Math.round((serverDate.getTime() - now) / 1000)
  if (Math.abs(seconds) < 5) return ' The clock of the server says the same.'
  const direction = seconds > 0 ? 'behind' : 'ahead of'
  return ` The clock of this node is ${Math.abs(seconds)} s ${direction} the server's: set it right.`
}

function refused(answer: Never): Enrolled {
  const { code, detail: message, requestId } = answer
  return { kind: 'refused', code, message, ...(requestId === undefined ? {} : { requestId }) }
}
