/**
 * Stands in for Rayguard's enrollment server: real HTTPS on the loopback, a real CA that signs, and an answer for each
 * request that the test chooses, wrong ones included.
 */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { CertificateRequest } from '../../src/contract/enrollment.ts'
import { readCertificateRequest } from '../../src/x509/csr.ts'
import type { CertificateNames } from '../../src/x509/names.ts'
import { type Issuer, issue, newAuthority, newKey, type Wanted } from './hand-made-certificates.ts'

export interface Received {
  method: string
  path: string
  token: string
  source: string
  /** Of the client's end: another one is another connection. */
  port: number | undefined
  body: CertificateRequest
  /** Read strictly, by the code of the real server. */
  publicKey: KeyObject
  names: CertificateNames | undefined
}

export type Answer = (received: Received, reply: ServerResponse) => void

export interface EnrollmentStandIn {
  url: string
  /** PEM of the CA behind the server's own certificate. */
  serverCa: string
  pods: Issuer
  received: Received[]
  /** Taken one a request; when none is left, a right certificate is issued. */
  answers: Answer[]
  close(): Promise<void>
}

export interface StandInOptions {
  serverNames?: Pick<Wanted, 'dnsNames' | 'ipAddresses' | 'notBefore' | 'notAfter'>
  /** A new self-signed one by default. */
  serverAuthority?: Issuer
  maxVersion?: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'
}

export async function startEnrollmentStandIn(
  options: StandInOptions = {}
): Promise<EnrollmentStandIn> {
  const serverAuthority = options.serverAuthority ?? newAuthority('enrollment CA')
  const pods = newAuthority('pods CA')
  const key = newKey()
  const names = options.serverNames ?? { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] }
  const received: Received[] = []
  const answers: Answer[] = []
  const server = createServer({
    key: key.export({ type: 'pkcs8', format: 'pem' }),
    cert: issue(serverAuthority, { key, usages: ['server'], ...names }),
    ...(options.maxVersion === undefined
      ? {}
      : {
          maxVersion: options.maxVersion,
          minVersion: 'TLSv1',
          ciphers: 'DEFAULT:@SECLEVEL=0'
        })
  })
  server.on('request', async (request, reply) => {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part)
    const body: CertificateRequest = JSON.parse(Buffer.concat(parts).toString())
    const csr = readCertificateRequest(body.csr)
    if (!csr.allowed)
      throw new Error(`The agent sent a request that the server refuses: ${csr.reason}`)
    const one: Received = {
      method: request.method ?? '',
      path: request.url ?? '',
      token: (request.headers.authorization ?? '').replace(/^Bearer /, ''),
      source: request.socket.remoteAddress ?? '',
      port: request.socket.remotePort,
      body,
      publicKey: createPublicKey({ key: Buffer.from(csr.publicKey), format: 'der', type: 'spki' }),
      names: csr.names
    }
    received.push(one)
    const answer = answers.shift() ?? issues(pods)
    answer(one, reply)
  })
  return {
    url: `https://127.0.0.1:${await listen(server)}`,
    serverCa: serverAuthority.certificate,
    pods,
    received,
    answers,
    close: closer(server)
  }
}

/** 201 with a certificate for the request's key and addresses, except where `wrong` says otherwise. */
export function issues(
  authority: Issuer,
  wrong: Partial<Wanted> & {
    headers?: Record<string, string>
    chain?: string
    trustAnchors?: string
  } = {}
): Answer {
  return (received, reply) => {
    const { headers = {}, chain, trustAnchors, ...wanted } = wrong
    const certificate = issue(authority, {
      key: received.publicKey,
      dnsNames: ['localhost'],
      ipAddresses: ['127.0.0.1', '::1', ...received.body.podIPs],
      ...wanted
    })
    const body = {
      certificate: `${certificate}${chain ?? ''}`,
      trustAnchors: trustAnchors ?? authority.certificate,
      serialNumber: '00',
      notBefore: '',
      notAfter: ''
    }
    answers(201, body, headers)(received, reply)
  }
}

/** A status with a JSON body, or with a text as it is. */
export function answers(
  status: number,
  body: object | string,
  headers: Record<string, string> = {}
): Answer {
  return (_received, reply) => {
    reply.writeHead(status, { 'content-type': 'application/json', ...headers })
    reply.end(typeof body === 'string' ? body : JSON.stringify(body))
  }
}

export function refuses(
  status: number,
  code: string,
  headers: Record<string, string> = {}
): Answer {
  return answers(status, { code, message: 'text of the server', requestId: 'request-7' }, headers)
}

export function listen(server: Server): Promise<number> {
  return new Promise(resolve => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port))
  })
}

/** Ends connections that a test left hanging, too. */
export function closer(server: Server): () => Promise<void> {
  const sockets = new Set<Duplex>()
  server.on('connection', socket => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  return () =>
    new Promise(resolve => {
      server.close(() => resolve())
      for (const socket of sockets) socket.destroy()
    })
}
