/** Whole requests over HTTPS without identity: request in, proof of possession, leaf, own check, JSON out. */
import { generateKeyPairSync } from 'node:crypto'
import { createCertificateRequest } from '../src/x509/request.ts'
import { type Ca, createCa, createServingPair, headNames } from './certificates.ts'
import { compare, type Report } from './harness.ts'
import { load } from './load.ts'
import { startProcess } from './processes.ts'

const amount = 6000

export async function run(report: Report): Promise<void> {
  const ca = await createCa('bench')
  const bodies = Array.from({ length: 64 }, () => JSON.stringify({ csr: createRequest() }))
  const subject = await listening(ca, false)
  const baseline = await listening(ca, true)
  const rate = async (url: string) =>
    (await load({ url, connections: 16, amount, bodies })).perSecond
  try {
    report(
      await compare({
        name: 'issuance over HTTPS, 16 clients (one sign)',
        unit: '/s',
        rounds: 7,
        subject: () => rate(subject.url),
        baseline: () => rate(baseline.url),
        target: { of: 'value', atLeast: 5000 }
      })
    )
  } finally {
    await Promise.all([subject.close(), baseline.close()])
  }
}

function createRequest(): string {
  return createCertificateRequest(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
}

async function listening(ca: Ca, bare: boolean) {
  const server = startProcess('issuing-server')
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const example = await ca.issuer.issue({
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    csr: new Uint8Array(),
    names: headNames,
    lifetimeSeconds: 3600 * 24
  })
  const port = await server.call<number>('listen', {
    serving: await createServingPair(ca),
    ca: { certificate: ca.certificate, privateKey: ca.privateKey },
    answer: JSON.stringify(example),
    bare
  })
  return { url: `https://127.0.0.1:${port}/`, close: server.close }
}
