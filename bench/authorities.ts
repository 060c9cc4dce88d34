/**
 * Certificates a second from each back end, asked as enrollment asks: so many at one time.
 *
 * The baseline is what the same back end gives to the plainest client: one session with the HSM, requests over HTTPS that
 * nobody looks into.
 */
import { randomBytes, sign } from 'node:crypto'
import { Pool } from 'undici'
import type { Authority, LeafRequest } from '../src/authority/authority.ts'
import { openAuthority } from '../src/authority/open.ts'
import { makeKeyPairSync } from '../src/x509/new-key.ts'
import { readSinglePem } from '../src/x509/pem.ts'
import { createCertificateRequest } from '../src/x509/request.ts'
import { type BackEnd, openFiles, openSoftHsm, openVault, type VaultBackEnd } from './back-ends.ts'
import { createCa, headNames, type KeyKind } from './certificates.ts'
import { compare, type Report, ratePerSecond, rateTogether } from './harness.ts'

/** As many as enrollment works on at one time. */
const atOnce = 64
const rounds = 5
const sessions = 3

export async function run(report: Report): Promise<void> {
  await measureFiles(report)
  await measureHsm(report, 'P-256', 2000)
  await measureHsm(report, 'RSA-4096', 200)
  await measureVault(report)
}

async function measureFiles(report: Report): Promise<void> {
  const files = await openFiles('P-256')
  const { key } = await createCa('bench')
  const bytes = Buffer.alloc(600)
  await withAuthority(files, async authority => {
    report(
      await compare({
        name: 'CA in files, P-256 (node:crypto sign)',
        unit: '/s',
        rounds,
        subject: () => rateTogether(3000, atOnce, () => authority.issue(request)),
        baseline: () => ratePerSecond(3000, () => sign('sha256', bytes, key))
      })
    )
  })
  await files.close()
}

async function measureHsm(report: Report, kind: KeyKind, count: number): Promise<void> {
  const many = await openSoftHsm(kind, sessions)
  const one = await openSoftHsm(kind, 1)
  const rate = (authority: Authority) => rateTogether(count, atOnce, () => authority.issue(request))
  await withAuthority(many, subject =>
    withAuthority(one, async baseline =>
      report(
        await compare({
          name: `SoftHSM, ${kind}, ${sessions} sessions (one session)`,
          unit: '/s',
          rounds,
          subject: () => rate(subject),
          baseline: () => rate(baseline)
        })
      )
    )
  )
  await Promise.all([many.close(), one.close()])
}

async function measureVault(report: Report): Promise<void> {
  const vault = await openVault()
  const plain = plainClient(vault)
  await withAuthority(vault, async authority =>
    report(
      await compare({
        name: 'Vault over TLS, P-256 (plain requests)',
        unit: '/s',
        rounds,
        subject: () => rateTogether(500, atOnce, () => authority.issue(request)),
        baseline: () => rateTogether(500, atOnce, plain.sign)
      })
    )
  )
  await plain.close()
  await vault.close()
}

async function withAuthority(
  { settings, environment }: BackEnd,
  work: (authority: Authority) => Promise<void>
): Promise<void> {
  // The HSM's library finds its tokens by a variable, in the process that is started for it here.
  Object.assign(process.env, environment)
  const options = { clock: Date.now, random: randomBytes, pollMs: 0 }
  const authority = await openAuthority(settings, options)
  try {
    await work(authority)
  } finally {
    await authority.close()
  }
}

/** The same request as ours, over as many connections. */
function plainClient({ settings, token, ca }: VaultBackEnd) {
  if (settings.kind !== 'vault') throw new Error('a Vault was expected')
  const pool = new Pool(settings.address, { connections: 16, connect: { ca } })
  const body = JSON.stringify({
    csr,
    format: 'pem',
    ttl: `${request.lifetimeSeconds}s`,
    common_name: '',
    exclude_cn_from_sans: true,
    alt_names: request.names.dnsNames.join(','),
    ip_sans: request.names.ipAddresses.join(',')
  })
  const headers = { 'content-type': 'application/json', 'x-vault-token': token }
  return {
    async sign() {
      const path = '/v1/pki/sign/ray-pods'
      const answer = await pool.request({ method: 'POST', path, headers, body })
      const text = await answer.body.text()
      if (answer.statusCode !== 200) throw new Error(`Vault answered ${answer.statusCode}: ${text}`)
    },
    close: () => pool.close()
  }
}

const { privateKey, publicKey } = makeKeyPairSync()
const csr = createCertificateRequest(privateKey)
const request: LeafRequest = {
  publicKey: publicKey.export({ type: 'spki', format: 'der' }),
  csr: readSinglePem(csr, 'CERTIFICATE REQUEST') ?? new Uint8Array(),
  names: headNames,
  lifetimeSeconds: 30 * 24 * 3600,
  rayCluster: { namespace: 'team-a', name: 'demo', uid: 'a3f1' }
}
