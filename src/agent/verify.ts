import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { certificateFile, keyFile, trustAnchorsFile } from '../contract/pod.ts'
import { addressesOf, checkPair, dnsNamesOf } from './certificates.ts'
import { type Handshake, type HandshakeFault, shakeHands } from './handshake.ts'

export interface VerifyOptions {
  host: string
  port: number
  /** The name that the peer's certificate must have. */
  name: string
  /** Holds tls.crt, tls.key and ca.crt. */
  directory: string
  timeoutMs: number
  now: number
}

export interface Verification {
  ok: boolean
  address: string
  name: string
  code: VerificationCode
  /** What was found and what to do. */
  message: string
  own?: CertificateDescription
  peer?: CertificateDescription
  protocol?: string
  applicationProtocol?: string
}

export type VerificationCode =
  | 'Verified'
  | 'OwnFiles'
  | 'OwnCertificate'
  | HandshakeFault
  | 'PeerUntrusted'
  | 'PeerExpired'
  | 'PeerNotYetValid'
  | 'PeerUsage'
  | 'PeerName'

export interface CertificateDescription {
  dnsNames: string[]
  ipAddresses: string[]
  issuer: string
  serialNumber: string
  notBefore: string
  notAfter: string
}

/**
 * What Ray would find at that address, with the reason that Ray keeps for its debug log: `ray health-check` ends after
 * 41 s with nothing but a code when a name is missing.
 */
export async function verify(options: VerifyOptions): Promise<Verification> {
  const { host, port, name } = options
  const address = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`
  const own = readOwnFiles(options)
  const described = own.leaf === undefined ? {} : { own: describe(own.leaf) }
  if (own.fault !== undefined) return { ok: false, address, name, ...own.fault, ...described }

  const handshake = await shakeHands({ ...options, ...own.files })
  const verdict = judge(handshake, name, options.now)
  return {
    ok: verdict.code === 'Verified',
    address,
    name,
    ...verdict,
    ...described,
    ...(handshake.kind === 'failed'
      ? {}
      : {
          peer: describe(handshake.peer),
          protocol: handshake.protocol,
          applicationProtocol: handshake.applicationProtocol
        })
  }
}

interface Verdict {
  code: VerificationCode
  message: string
}

interface OwnFiles {
  certificate: string
  key: string
  trustAnchors: string
}

function readOwnFiles(
  options: VerifyOptions
):
  | { files: OwnFiles; leaf: X509Certificate; fault?: undefined }
  | { fault: Verdict; leaf?: X509Certificate } {
  const { directory } = options
  let files: OwnFiles
  try {
    const read = (name: string) => readFileSync(join(directory, name), 'utf8')
    files = {
      certificate: read(certificateFile),
      key: read(keyFile),
      trustAnchors: read(trustAnchorsFile)
    }
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    return {
      fault: ownFiles(`${detail}. Was the pod injected, and does this container have the mount?`)
    }
  }
  return checkOwnFiles(files, options)
}

function ownFiles(message: string): Verdict {
  return { code: 'OwnFiles', message }
}

function checkOwnFiles(files: OwnFiles, { directory, now }: VerifyOptions) {
  const key = attempt(() => createPrivateKey(files.key))
  const leaf = attempt(() => new X509Certificate(files.certificate))
  if (key === undefined || leaf === undefined) {
    const broken = key === undefined ? keyFile : certificateFile
    return { fault: ownFiles(`${join(directory, broken)} is not PEM that can be read.`) }
  }
  const checked = checkPair({ ...files, privateKey: key, podIPs: [], now })
  // Only the names and usages that this connection needs count here, and the peer is their judge.
  if (!checked.usable && !['CertificateUsage', 'CertificateNames'].includes(checked.code)) {
    const message = `The files in ${directory} do not go together: ${checked.detail}`
    return { leaf, fault: { code: 'OwnCertificate' as const, message } }
  }
  return { files, leaf }
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}

function describe(certificate: X509Certificate): CertificateDescription {
  return {
    dnsNames: dnsNamesOf(certificate),
    ipAddresses: addressesOf(certificate),
    issuer: certificate.issuer.replaceAll('\n', ', '),
    serialNumber: certificate.serialNumber.toLowerCase(),
    notBefore: new Date(certificate.validFrom).toISOString(),
    notAfter: new Date(certificate.validTo).toISOString()
  }
}

const failures: Record<HandshakeFault, string> = {
  NameNotResolved: 'The host name has no address. Is the Service there, and is the name complete?',
  ConnectionRefused: 'Nothing listens on that port. Has Ray started, and is the port right?',
  Unreachable: 'The address cannot be reached. Is there a NetworkPolicy or a route missing?',
  Timeout: 'No answer in time. Is there a NetworkPolicy in between, or is the server not ready?',
  Plaintext: 'The server does not speak TLS. Its pod runs without RAY_USE_TLS=1: was it injected?',
  ClientCertificateRefused:
    'The server does not accept the certificate of this pod. Do both pods trust the same CA, and is it still valid?',
  NotHttp2: 'The server speaks TLS, but not HTTP/2: this is not a gRPC port of Ray.',
  HandshakeFailed: 'The TLS handshake failed.'
}

function judge(handshake: Handshake, name: string, now: number): Verdict {
  if (handshake.kind === 'failed') {
    return { code: handshake.code, message: `${failures[handshake.code]} (${handshake.detail})` }
  }
  return (
    judgeChain(handshake.chainError, handshake.peer, now) ??
    judgeName(handshake.peer, name) ??
    judgeSession(handshake) ?? {
      code: 'Verified',
      message: `The server proved to be ${name}, and it accepts the certificate of this pod.`
    }
  )
}

function judgeChain(
  error: string | undefined,
  peer: X509Certificate,
  now: number
): Verdict | undefined {
  switch (error) {
    case undefined:
      return undefined
    case 'CERT_HAS_EXPIRED':
      return {
        code: 'PeerExpired',
        message: `The certificate of the server, or one above it, has expired (it ends ${peer.validTo}). Ray reads its files at its start only: make the pod anew.`
      }
    case 'CERT_NOT_YET_VALID':
      return {
        code: 'PeerNotYetValid',
        message: `The certificate of the server is valid from ${peer.validFrom}; the clock here says ${new Date(now).toISOString()}. Compare the clocks of the nodes.`
      }
    case 'INVALID_PURPOSE':
      return {
        code: 'PeerUsage',
        message: 'The certificate of the server is not for server authentication.'
      }
    default:
      return {
        code: 'PeerUntrusted',
        message: `The certificate of the server does not lead to the CA in ca.crt (${error}). The pods belong to different RayClusters, or the CA has changed since one of them started.`
      }
  }
}

/** As gRPC compares (ssl_transport_security.cc): an address also passes as a DNS name, and without names the subject's. */
function judgeName(peer: X509Certificate, name: string): Verdict | undefined {
  const addresses = addressesOf(peer)
  const dnsNames = dnsNamesOf(peer)
  const subject = addresses.length + dnsNames.length === 0 ? 'always' : 'never'
  const matches =
    isIP(name) === 0
      ? peer.checkHost(name, { subject, partialWildcards: false }) !== undefined
      : peer.checkIP(name) !== undefined || dnsNames.includes(name)
  if (matches) return undefined
  return {
    code: 'PeerName',
    message: `${name} is not among the names of the server's certificate: ${[...dnsNames, ...addresses].join(', ') || 'it has none'}. Use one of these, or look whether the address is another pod's now.`
  }
}

function judgeSession(session: Handshake & { kind: 'secure' }): Verdict | undefined {
  if (session.after === 'closed') {
    const detail = session.alert ?? 'it ended the connection after the handshake'
    return {
      code: 'ClientCertificateRefused',
      message: `${failures.ClientCertificateRefused} (${detail})`
    }
  }
  if (session.after === 'silent') {
    return {
      code: 'Timeout',
      message:
        'The TLS handshake went well, but the server says nothing. Does it wait for something?'
    }
  }
  if (session.after === 'http2' && session.applicationProtocol === 'h2') return undefined
  return { code: 'NotHttp2', message: failures.NotHttp2 }
}
