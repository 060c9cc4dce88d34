/** How much the whole of a leaf costs beside the one signature that nobody can save: `authority.issue` against `sign`. */
import { sign } from 'node:crypto'
import type { LeafContent } from '../src/authority/authority.ts'
import { makeKeyPairSync } from '../src/x509/new-key.ts'
import { readSinglePem } from '../src/x509/pem.ts'
import { type Ca, createCa, headNames } from './certificates.ts'
import { compare, type Report, ratePerSecond } from './harness.ts'

const counts = { 'P-256': 3000, 'RSA-2048': 400 }

export async function run(report: Report): Promise<void> {
  for (const kind of ['P-256', 'RSA-2048'] as const) {
    const ca = await createCa('bench', kind)
    const request = leafRequest()
    const bytes = await bytesLikeThose(ca, request)
    report(
      await compare({
        name: `leaf signing, ${kind} CA (node:crypto sign)`,
        unit: '/s',
        rounds: 9,
        subject: () => ratePerSecond(counts[kind], () => ca.issuer.issue(request)),
        baseline: () => ratePerSecond(counts[kind], () => sign('sha256', bytes, ca.key)),
        target:
          kind === 'P-256' ? { of: 'value', atLeast: 10_000 } : { of: 'ratio', atLeast: 1 / 3 }
      })
    )
  }
}

function leafRequest(): LeafContent {
  const { publicKey } = makeKeyPairSync()
  return {
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    csr: new Uint8Array(),
    names: headNames,
    lifetimeSeconds: 90 * 24 * 3600
  }
}

/** As long as what is signed of such a leaf: all but the signature and the outer frame. */
async function bytesLikeThose(ca: Ca, request: LeafContent): Promise<Uint8Array> {
  const { certificate } = await ca.issuer.issue(request)
  const der = readSinglePem(certificate, 'CERTIFICATE') ?? new Uint8Array()
  const signatureBytes = sign('sha256', der, ca.key).length
  return der.subarray(0, der.length - signatureBytes - 24)
}
