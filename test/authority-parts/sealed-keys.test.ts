/** Attack 97, where the keys of the CAs are sealed by a real token, and by a real Vault. */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { type AuthoritySettings, openAuthority, protectionKind } from '../../src/authority/open.ts'
import type { OwnCa } from '../../src/authority/per-cluster/entries.ts'
import { createOwnCas } from '../../src/authority/per-cluster/own-ca.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { forgedOwnCa } from '../support/forged-own-ca.ts'
import { libraryFile, openSoftHsm } from '../support/soft-hsm.ts'
import { setUpPki } from '../support/vault-pki.ts'
import { startVault } from '../support/vault-server.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const skip = process.env.RAYGUARD_TEST_SKIP
if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

const workshop = openWorkshop(t)
const options = {
  clock: Date.now,
  random: randomBytes,
  pollMs: 0,
  lifetimeSeconds: 86_400,
  tokenHost: new URL('../../dist/chunks/token-host.js', import.meta.url)
}
const rayCluster = { namespace: 'team', name: 'demo', uid: 'a3f1' }

t.test('a token', async t => {
  const hsm = openSoftHsm(workshop.directory)
  const pin = '493817'
  hsm.makeToken('pods', pin)
  makeCa(workshop, 'pods')
  const file = workshop.path('pods.p8')
  workshop.run('pkcs8', '-topk8', '-nocrypt', '-in', 'pods.key', '-out', file)
  hsm.importKey('pods', pin, { file, label: 'ca', id: '01' })
  const secret = ['--keygen', '--key-type', 'GENERIC:32', '--usage-sign', '--sensitive']
  hsm.tool('pods', pin, ...secret, '--label', 'seal', '--id', 'a0')
  const bare = {
    kind: 'pkcs11' as const,
    ...{ certificateFile: workshop.path('pods.crt'), pinFile: workshop.write('pin', pin) },
    ...{ libraryFile, tokenLabel: 'pods', keyLabel: 'ca', sessions: 1 }
  }
  await attacked(t, bare, { ...bare, sealing: { keyLabel: 'seal' } })
})

t.test('Vault', async t => {
  const vault = await startVault(workshop)
  t.teardown(() => vault.close())
  await setUpPki(vault)
  await vault.write('sys/mounts/transit', { type: 'transit' })
  await vault.write('transit/keys/rayguard', { type: 'aes256-gcm96' })
  const bare = {
    kind: 'vault' as const,
    ...{ address: vault.address, caFile: vault.caFile },
    ...{ mount: 'pki', role: 'ray-pods', mode: 'sign' as const },
    login: { kind: 'tokenFile' as const, tokenFile: workshop.write('token', vault.token) }
  }
  await attacked(t, bare, { ...bare, transit: { mount: 'transit', key: 'rayguard' } })
})

async function attacked(t: Test, bare: AuthoritySettings, sealing: AuthoritySettings) {
  const before = await opened(t, bare)
  const after = await opened(t, sealing)
  t.equal(protectionKind(bare), undefined, 'known beforehand')
  t.equal(protectionKind(sealing), after.authority.protection?.kind, 'in both cases')
  const plain = await before.ownCas.make(rayCluster)
  const ours = await after.ownCas.make(rayCluster)
  t.match(ours.key, { sealed: String }, 'sealed')

  const forged = forgedOwnCa(workshop, rayCluster)
  const attacks: [string, OwnCa][] = [
    ['a CA of somebody else', forged],
    ['a key beside the certificate of ours', { ...forged, certificate: ours.certificate }],
    ['one of another RayCluster, unsealed', { ...plain, uid: 'b4e2' }]
  ]
  for (const [what, entry] of attacks) {
    await t.rejects(after.ownCas.open(entry), { code: 'Invalid' }, `attack 97: ${what}`)
    await t.rejects(after.ownCas.renewed(entry), { code: 'Invalid' }, `${what}: not sealed either`)
  }
  t.ok(await before.ownCas.open(forged), 'it is good in all else: without sealing it is taken')

  t.ok(await after.ownCas.open(plain), 'one of before goes on')
  t.match(
    await after.ownCas.renewed(plain),
    { certificate: plain.certificate, key: { sealed: String } },
    'and is sealed'
  )
  const next = makeKeyPairSync().privateKey
  const key = { plain: next.export({ type: 'pkcs8', format: 'der' }).toString('base64') }
  await t.rejects(after.ownCas.open({ ...plain, key }), { code: 'Invalid' }, 'not by another key')
}

async function opened(t: Test, settings: AuthoritySettings) {
  const authority = await openAuthority(settings, options)
  t.teardown(() => authority.close())
  return { authority, ownCas: createOwnCas({ ...options, authority, leafSeconds: 86_400 }) }
}
