/** The CA of an issuer that is renewed while no pod wants a certificate, where only its answers tell that CA. */
import { createPublicKey, randomBytes } from 'node:crypto'
import { renameSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { CertManagerSettings } from '../../src/authority/cert-manager/issuer-authority.ts'
import { openAuthority } from '../../src/authority/open.ts'
import { createStandIn } from '../../src/demo/stand-in.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import { readSinglePem } from '../../src/x509/pem.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { clientToken, connectionTo, servingPair } from '../support/enrollment-stage.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import { playSigner } from '../support/played-signer.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const workshop = openWorkshop(t)
const pair = servingPair()
const minute = 60_000
const day = 24 * 60 * minute
const issuer = { name: 'ray-pods', kind: 'Issuer', group: 'cert-manager.io' }
const settings: CertManagerSettings = {
  ...{ kind: 'cert-manager', issuer, issuerOpenToAllNamespaces: false }
}
/** With the tenth part that lies between replicas. */
const interval = 1.1 * day
makeCa(workshop, 'ca', { days: 90 })
// The certificates that cert-manager makes of the same key, or of another.
const again = ['-req', '-in', 'ca.csr', '-extfile', 'ca.cnf', '-extensions', 'ext']
workshop.run('x509', ...again, '-key', 'ca.key', '-days', '180', '-out', 'renewed.crt')
workshop.write('renewed.key', workshop.read('ca.key'))
makeCa(workshop, 'other', { days: 180, subject: '/CN=ca' })

for (const [next, how] of [
  ['renewed', 'with its key'],
  ['other', 'with another key']
] as const) {
  for (const [days, when] of [
    [61, 'near its end'],
    [89.99, 'in the last hour, when no pod could ask'],
    [91, 'after it has ended']
  ] as const) {
    t.test(`a CA that is renewed ${how} is learned ${when}, and no pod asks`, async t => {
      const { authority, signer, pass, reloads } = await open(t)
      t.equal(authority.chain?.().trustAnchor, workshop.read('ca.crt'), 'the first')
      signer.ca = next
      pass(days * day)
      const anchor = () => authority.chain?.().trustAnchor
      await until(() => anchor() !== workshop.read('ca.crt'))
      t.equal(anchor(), workshop.read(`${next}.crt`), 'the next')
      t.equal(signer.created.length, 2, 'by one more request')
      t.match(reloads.at(-1), { loaded: true, description: { kind: 'cert-manager' } }, 'told')
      await until(() => signer.present().length === 0)
      signer.lifetimeSeconds = 86_400
      const { trustAnchors } = await authority.issue(leaf())
      t.equal(trustAnchors, workshop.read(`${next}.crt`), 'pods get their certificates by it')
    })
  }
}

t.test('nothing is asked while the CA is young, an answer is new or a file names it', async t => {
  const young = await open(t)
  young.pass(44 * day)
  await young.looks()
  t.equal(young.signer.created.length, 1, 'in the first half of its life')
  young.pass(2 * day)
  await until(() => young.signer.created.length === 2)
  await until(() => young.signer.present().length === 0)
  young.pass(0.99 * day)
  await young.looks()
  t.equal(young.signer.created.length, 2, 'a day after the former')
  await young.authority.issue(leaf())
  young.pass(0.99 * day)
  await young.looks()
  t.equal(young.signer.created.length, 3, 'nor after what a pod has asked for')
  young.pass(interval - 0.99 * day)
  await until(() => young.signer.created.length === 4)

  const certificateFile = workshop.write('pinned.crt', workshop.read('ca.crt'))
  const pinned = await open(t, { certificateFile })
  pinned.pass(80 * day)
  renameSync(workshop.write('next.crt', workshop.read('renewed.crt')), certificateFile)
  await until(() => pinned.reloads.length === 2)
  t.equal(pinned.signer.created.length, 0, 'a file is looked at itself')
})

t.test('a CA of a few hours is asked for more often, and never all the time', async t => {
  makeCa(workshop, 'short', { days: 1 })
  const { signer, pass, looks } = await open(t, { ca: 'short' })
  pass(13 * 60 * minute)
  await until(() => signer.created.length === 2)
  await until(() => signer.present().length === 0)
  pass(71 * minute)
  await looks()
  t.equal(signer.created.length, 2, 'a twentieth of its life has not gone by')
  pass(10 * minute)
  await until(() => signer.created.length === 3)
  t.pass('then it has')
})

t.test('whoever approves may take time, and has one request to approve', async t => {
  const { authority, signer, pass, looks, faults } = await open(t)
  signer.behave('leave')
  signer.ca = 'renewed'
  pass(61 * day)
  await until(() => signer.created.length === 2)
  pass(50 * minute)
  await looks()
  t.equal(signer.created.length, 2, 'it stands')
  signer.behave('sign')
  await until(() => authority.chain?.().trustAnchor === workshop.read('renewed.crt'))
  t.equal(signer.created.length, 2, 'and was the only one')
  t.strictSame(faults, [], 'nothing was wrong')
})

t.test('what fails is told once, and asked for in the next interval', async t => {
  const { authority, signer, pass, looks, faults } = await open(t)
  const nextInterval = async () => {
    pass(11 * minute)
    await until(() => signer.present().length === 0)
    pass(interval)
  }
  signer.behave('deny')
  pass(61 * day)
  await until(() => faults.length === 1)
  t.match(faults, [{ code: 'Denied', message: /CA that ends at .* denied: Denied: Policy/ }], 'why')
  await looks()
  t.equal(signer.created.length, 2, 'not at once')
  await nextInterval()
  await until(() => signer.created.length === 3)
  signer.behave('fail')
  await nextInterval()
  await until(() => faults.length === 2)
  t.match(faults[1], { code: 'Unavailable' }, 'one no is told once, another fault is another')
  t.equal(authority.chain?.().trustAnchor, workshop.read('ca.crt'), 'what is known stays')
  signer.behave('sign')
  signer.ca = 'renewed'
  await nextInterval()
  await until(() => authority.chain?.().trustAnchor === workshop.read('renewed.crt'))
  t.equal(signer.created.length, 5, 'and in the end it is learned, by one request each time')
})

t.test('an authority that is closed waits for nobody', async t => {
  const { authority, signer, pass, faults } = await open(t)
  await until(() => signer.present().length === 0)
  signer.behave('leave')
  pass(61 * day)
  await until(() => signer.present().length === 1)
  await authority.close()
  t.strictSame(faults, [], 'which is no fault')
  t.strictSame(signer.present(), [], 'and leaves nobody anything to approve')
})

interface Wishes {
  certificateFile?: string
  /** That signs at first. */
  ca?: string
}

/** The authority over an issuer that is played, by a clock that only goes when a test lets it. */
async function open(t: Test, { certificateFile, ca = 'ca' }: Wishes = {}) {
  const startedAt = Date.now()
  let passed = 0
  let looked = 0
  const clock = () => startedAt + passed
  const standIn = createStandIn({ ...pair, clientToken, clock })
  const server = await standIn.listen()
  const client = createClient(connectionTo(server, pair.ca), { timeoutMs: 30_000 })
  const signer = playSigner(standIn, workshop, 'CertificateRequest', 86_400)
  signer.ca = ca
  standIn.interfere(({ path }) => discovery(path))
  const [reloads, faults]: [unknown[], unknown[]] = [[], []]
  const authority = await openAuthority(
    { ...settings, certificateFile },
    {
      ...{ random: (size: number) => randomBytes(size), pollMs: 2 },
      clock() {
        looked += 1
        return clock()
      },
      onReload: outcome => void reloads.push(outcome),
      cluster: {
        ...{ client, namespace: 'rayguard-system', fraction: Math.random },
        ...{ approvalMs: 2, sweepEveryMs: 5 },
        steadyClock: () => passed,
        onFault: error => void faults.push(error)
      }
    }
  )
  t.teardown(async () => {
    await authority.close()
    await client.close()
    await standIn.close()
  })
  return {
    ...{ authority, signer, reloads, faults },
    pass(ms: number) {
      passed += ms
    },
    /** Time enough to ask, were it due. */
    async looks() {
      const before = looked
      await until(() => looked > before + 20)
    }
  }
}

function discovery(path: string) {
  const groups: Record<string, object> = {
    '/apis/cert-manager.io': { preferredVersion: { groupVersion: 'cert-manager.io/v1' } },
    '/apis/cert-manager.io/v1': { resources: [{ kind: 'Issuer', namespaced: true }] }
  }
  const found = groups[path]
  return found && { status: 200, body: JSON.stringify(found) }
}

function leaf() {
  const key = newKey()
  const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] }
  return {
    publicKey: createPublicKey(key).export({ type: 'spki', format: 'der' }),
    csr: readSinglePem(createCertificateRequest(key, names), 'CERTIFICATE REQUEST') ?? Buffer.of(),
    ...{ names, lifetimeSeconds: 86_400 },
    rayCluster: { namespace: 'team-a', name: 'demo', uid: 'a-uid' }
  }
}

/** What takes a moment; the runner's own limit ends what never comes. */
async function until(holds: () => unknown): Promise<void> {
  while (!holds()) await new Promise(resolve => setTimeout(resolve, 5))
}
