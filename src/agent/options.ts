import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { isAbsolute } from 'node:path'
import { certificatesPath } from '../contract/enrollment.ts'
import {
  agentVariables,
  type KeyAlgorithm,
  keyAlgorithms,
  tlsDirectory,
  tokenDirectory,
  tokenFile
} from '../contract/pod.ts'
import { canonicalAddress } from '../x509/names.ts'
import { readPem } from '../x509/pem.ts'

export interface EnrollOptions {
  /** The whole address that is asked, path included. */
  url: URL
  /** PEM; nothing else vouches for the server. */
  serverCa: string
  /** Canonical. */
  podIPs: string[]
  keyAlgorithm: KeyAlgorithm
  /** The key file's group; without one the file is its owner's alone. */
  keyGroup?: number
  directory: string
  tokenFile: string
  terminationLog: string
  /** The local address that requests leave from. */
  sourceAddress?: string
  /** `namespace/name`, for messages. */
  pod?: string
}

export interface EnrollFlags {
  directory?: string | undefined
  'token-file'?: string | undefined
  'termination-log'?: string | undefined
  'source-address'?: string | undefined
}

export type Environment = Readonly<Record<string, string | undefined>>

export type ReadOptions =
  | { options: EnrollOptions; errors?: undefined }
  | { options?: undefined; errors: string[] }

/** Options from the variables that the patch sets and from flags, or everything that is wrong with them at once. */
export function readOptions(environment: Environment, flags: EnrollFlags): ReadOptions {
  const errors: string[] = []
  const value = (name: keyof typeof agentVariables) =>
    (environment[agentVariables[name]] ?? '').trim()

  const url = readUrl(value('serverUrl'), errors)
  const serverCa = readServerCa(value('serverCa'), errors)
  const podIPs = readPodIPs(value('podIPs'), errors)
  const keyAlgorithm = readKeyAlgorithm(value('keyAlgorithm'), errors)
  const keyGroup = readKeyGroup(value('keyGroup'), errors)
  const directory = readPath('--directory', flags.directory ?? tlsDirectory, errors)
  const token = readPath(
    '--token-file',
    flags['token-file'] ?? `${tokenDirectory}/${tokenFile}`,
    errors
  )
  const terminationLog = readPath(
    '--termination-log',
    flags['termination-log'] ?? '/dev/termination-log',
    errors
  )
  const sourceAddress = readSourceAddress(flags['source-address'], errors)
  if (errors.length > 0 || url === undefined) return { errors }

  const pod = `${value('podNamespace')}/${value('podName')}`
  return {
    options: {
      url,
      serverCa,
      podIPs,
      keyAlgorithm,
      ...(keyGroup === undefined ? {} : { keyGroup }),
      directory,
      tokenFile: token,
      terminationLog,
      ...(sourceAddress === undefined ? {} : { sourceAddress }),
      ...(pod === '/' ? {} : { pod })
    }
  }
}

/** Whether the variables of the patch are there: then nobody waits at a keyboard, and an exit costs a new pod. */
export function insidePod(environment: Environment): boolean {
  return (environment[agentVariables.podUid] ?? '') !== ''
}

function readUrl(text: string, errors: string[]): URL | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const plain =
    url?.protocol === 'https:' &&
    `${url.username}${url.password}${url.search}${url.hash}` === '' &&
    url.pathname === '/'
  if (url === undefined || !plain) {
    // The value is not repeated: it may hold a password by mistake.
    errors.push(
      `${agentVariables.serverUrl} must be the enrollment server's address, https://HOST[:PORT] and nothing more.`
    )
    return undefined
  }
  return new URL(certificatesPath, url)
}

function readServerCa(pem: string, errors: string[]): string {
  const blocks = readPem(pem) ?? []
  const usable = blocks.every(block => block.label === 'CERTIFICATE' && parses(block.der))
  if (blocks.length === 0 || !usable) {
    errors.push(
      `${agentVariables.serverCa} must hold the enrollment server's CA: one or more PEM certificates and nothing else.`
    )
  }
  return pem
}

function parses(der: Uint8Array): boolean {
  try {
    return new X509Certificate(der).raw.length === der.length
  } catch {
    return false
  }
}

function readPodIPs(text: string, errors: string[]): string[] {
  const written = text.split(',').map(address => address.trim())
  const addresses = written.flatMap(address => canonicalAddress(address) ?? [])
  if (addresses.length !== written.length) {
    errors.push(
      `${agentVariables.podIPs} must be the pod's addresses, separated by commas; found ${JSON.stringify(text.slice(0, 200))}.`
    )
  }
  return [...new Set(addresses)]
}

function readKeyAlgorithm(text: string, errors: string[]): KeyAlgorithm {
  const algorithm = keyAlgorithms.find(known => known === (text === '' ? 'P-256' : text))
  if (algorithm === undefined) {
    errors.push(
      `${agentVariables.keyAlgorithm} must be one of ${keyAlgorithms.join(', ')}; found ${JSON.stringify(text.slice(0, 40))}.`
    )
  }
  return algorithm ?? 'P-256'
}

/** The largest identifier that Linux gives to a group; the one above it means "leave as it is" to chown(2). */
const maximumGroup = 0xfffffffe

function readKeyGroup(text: string, errors: string[]): number | undefined {
  if (text === '') return undefined
  const group = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN
  if (group <= maximumGroup) return group
  errors.push(
    `${agentVariables.keyGroup} must be the number of a group, or empty; found ${JSON.stringify(text.slice(0, 40))}.`
  )
  return undefined
}

function readPath(flag: string, path: string, errors: string[]): string {
  if (!isAbsolute(path))
    errors.push(`${flag} must be an absolute path; found ${JSON.stringify(path)}.`)
  return path
}

function readSourceAddress(text: string | undefined, errors: string[]): string | undefined {
  if (text !== undefined && isIP(text) === 0) {
    errors.push(`--source-address must be an IP address; found ${JSON.stringify(text)}.`)
  }
  return text
}
