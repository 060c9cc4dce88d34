/** Requests to the enrollment server as an attacker would make them: any token, any request, from any local address. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openssl } from './cluster-certificates.ts'
import type { RunningRayguard } from './cluster-rayguard.ts'

export interface Question {
  token: string
  podIPs: string[]
  from: string
  /** As openssl spells them; without it the request asks for no name, as the agent's does. */
  names?: string
}

export interface Reply {
  status: number
  /** `Issued`, or the code of the refusal. */
  code: string
  certificate?: string
}

export async function ask(rayguard: RunningRayguard, question: Question): Promise<Reply> {
  const { token, podIPs, from, names } = question
  const body = JSON.stringify({ csr: makeRequest(names), podIPs })
  const { status, text } = await new Promise<{ status: number; text: string }>(
    (resolve, reject) => {
      const outgoing = request(
        new URL('/v1/certificates', rayguard.enrollmentUrl),
        {
          method: 'POST',
          ca: rayguard.servingCa,
          localAddress: from,
          agent: false,
          headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` }
        },
        response => {
          const chunks: Buffer[] = []
          response.on('data', chunk => chunks.push(chunk))
          response.once('end', () =>
            resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() })
          )
        }
      )
      outgoing.once('error', reject)
      outgoing.end(body)
    }
  )
  const { code = 'Issued', certificate } = JSON.parse(text)
  return { status, code, ...(certificate === undefined ? {} : { certificate }) }
}

function makeRequest(names: string | undefined): string {
  const folder = mkdtempSync(join(tmpdir(), 'rayguard-request-'))
  const configuration = join(folder, 'request.cnf')
  writeFileSync(configuration, '[req]\ndistinguished_name=none\n[none]\n')
  return openssl(
    ...['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-config', configuration, '-subj', '/', '-keyout', join(folder, 'key.pem')],
    ...(names === undefined ? [] : ['-addext', `subjectAltName=${names}`])
  )
}
