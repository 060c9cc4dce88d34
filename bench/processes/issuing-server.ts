/**
 * The least that a certificate over HTTPS can cost: `node:https`, a request in, a certificate out; no identity, no API.
 *
 * As `bare` it makes one signature and answers as many bytes.
 */
import { createPrivateKey, sign } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { LocalIssuer } from '../../src/authority/local.ts'
import { createLeafCheck, type LeafCheck } from '../../src/x509/check-leaf.ts'
import { readCertificateRequest } from '../../src/x509/csr.ts'
import { headNames, issuerOf, type ServingPair } from '../certificates.ts'
import { serveParent } from '../processes.ts'

interface Options {
  serving: ServingPair
  ca: { certificate: string; privateKey: string }
  /** What the bare server answers. */
  answer: string
  bare: boolean
}

const lifetimeSeconds = 90 * 24 * 3600

serveParent({
  async listen({ serving, ca, answer, bare }: Options): Promise<number> {
    const issuer = issuerOf(ca.certificate, ca.privateKey)
    const key = createPrivateKey(ca.privateKey)
    const checkLeaf = createLeafCheck()
    const respond = bare
      ? (text: string) => {
          sign('sha256', Buffer.from(text), key)
          return answer
        }
      : (text: string) => issued(issuer, checkLeaf, text)
    const server = createServer(
      { cert: serving.certificate, key: serving.privateKey, minVersion: 'TLSv1.3' },
      async (request, response) => {
        const text = await respond(await bodyOf(request))
        response.writeHead(201, {
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(text)
        })
        response.end(text)
      }
    )
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as AddressInfo).port
  }
})

async function issued(issuer: LocalIssuer, checkLeaf: LeafCheck, text: string): Promise<string> {
  const request = readCertificateRequest(JSON.parse(text).csr)
  if (!request.allowed) throw new Error(request.reason)
  const { publicKey, csr } = request
  const issued = await issuer.issue({ publicKey, csr, names: headNames, lifetimeSeconds })
  const problems = checkLeaf(issued, {
    publicKey,
    names: headNames,
    now: new Date(),
    maximumLifetimeSeconds: lifetimeSeconds
  })
  if (problems.length > 0) throw new Error(problems.map(({ detail }) => detail).join(' '))
  return JSON.stringify(issued)
}

function bodyOf(request: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    request.on('data', chunk => chunks.push(chunk))
    request.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')))
    request.on('error', reject)
  })
}
