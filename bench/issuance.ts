import { makeKeyPairSync } from '../src/x509/new-key.ts'
/** Whole requests over HTTPS without identity: request in, proof of possession, leaf, own check, JSON out. */
import { createCertificateRequest } from '../src/x509/request.ts'
import { createCa } from './certificates.ts'
import { compare, type Report } from './harness.ts'
import { startIssuing } from './issuing.ts'
import { load } from './load.ts'

const amount = 6000

export async function run(report: Report): Promise<void> {
  const ca = await createCa('bench')
  const bodies = Array.from({ length: 64 }, () => JSON.stringify({ csr: createRequest() }))
  const subject = await startIssuing(ca, { bare: false })
  const baseline = await startIssuing(ca, { bare: true })
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
  return createCertificateRequest(makeKeyPairSync().privateKey)
}
