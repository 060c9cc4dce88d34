/** What the policy of Vault's token lacks, found at the start and not by the first pod. */
import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import type { LoginSettings } from '../../src/authority/vault/login.ts'
import {
  openVaultAuthority,
  type VaultAuthoritySettings
} from '../../src/authority/vault/vault-authority.ts'
import { command } from '../../src/cli/serve.ts'
import { captureIo } from '../support/cli.ts'
import { place, ready, serve } from '../support/served.ts'
import { setUpPki } from '../support/vault-pki.ts'
import { startVault, type VaultServer } from '../support/vault-server.ts'
import { openWorkshop } from '../x509/openssl.ts'

const skip = process.env.RAYGUARD_TEST_SKIP
if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

const workshop = openWorkshop(t)
const leavesAlone = 'path "pki/sign/ray-pods" { capabilities = ["update"] }'
const withCas = `${leavesAlone}\npath "pki/root/sign-intermediate" { capabilities = ["update"] }`
const lacking = 'the policy of Vault’s token does not allow update on pki/root/sign-intermediate'

let vault: VaultServer
t.before(async () => {
  vault = await startVault(workshop)
  await setUpPki(vault)
})
t.teardown(() => vault.close())

t.test('a policy without sign-intermediate signs pods and no CAs, until it is mended', async t => {
  const { authority, mend } = await opened(t, 'mended', leavesAlone)
  t.equal(authority.problem?.(), undefined, 'what pods need is there')
  t.equal(authority.intermediates?.problem(), lacking)
  await authority.reload()
  t.equal(authority.intermediates?.problem(), lacking, 'as long as nobody mends it')
  await mend(withCas)
  await authority.reload()
  t.equal(authority.intermediates?.problem(), undefined, 'then it is looked at again')
})

t.test('a policy that allows it, or everything, or does not tell, is none', async t => {
  const allowed = await opened(t, 'allowed', withCas)
  t.equal(allowed.authority.intermediates?.problem(), undefined, 'it is allowed')
  const root = await openVaultAuthority(settings(vault.token), options)
  t.teardown(root.close)
  t.equal(root.intermediates?.problem(), undefined, 'root may do all')
  const looks = 'path "auth/token/lookup-self" { capabilities = ["read"] }'
  const wishes = { no_default_policy: true }
  const silent = await opened(t, 'silent', `${leavesAlone}\n${looks}`, wishes)
  t.equal(silent.authority.intermediates?.problem(), undefined, 'what is not told stays open')
})

t.test('with issuerRef the paths are those of that issuer', async t => {
  const withIssuer = withCas.replace('pki/sign', 'pki/issuer/default/sign')
  const paths = withIssuer.replace('pki/root', 'pki/issuer/default')
  const by = async (name: string, policy: string) =>
    openVaultAuthority({ ...settings(await tokenOf(name, policy)), issuerRef: 'default' }, options)
  await t.rejects(by('others', withCas), { code: 'Refused' }, 'the others are of no use')
  const authority = await by('issuer', paths)
  t.teardown(authority.close)
  t.equal(authority.intermediates?.problem(), undefined, 'it signs pods and CAs')
})

t.test('the server refuses trust: perCluster with such a policy, and says what to do', async t => {
  const here = await place(t)
  const authority = { ...settings(''), login: await appRole('refused', leavesAlone) }
  const settingsOf = (trust: string) => here.settings({ trust, authority })
  const io = captureIo()
  const asked = ['--config', settingsOf('perCluster'), '--components', 'enrollment']
  const tokens = async () => (await vault.read('auth/token/accessors?list=true')).data.keys.length
  const before = await tokens()
  t.equal(await command.run(asked, io), 2, 'it ends')
  t.equal(await tokens(), before, 'and leaves no token in Vault')
  t.match(
    io.err(),
    /^rayguard serve: trust: perCluster needs a CA that signs one for each Ray cluster/,
    'with what it needs'
  )
  t.ok(io.err().includes(lacking), 'why')
  t.match(io.err(), /Use another CA, or set trust: shared; docs\/trust\.md/, 'and the way out')
  const shared = serve(t, settingsOf('shared'), ['--components', 'enrollment'])
  t.ok(await ready(await shared.port('ops')), 'shared needs none')
})

const options = { clock: Date.now, random: randomBytes, pollMs: 0, lifetimeSeconds: 86_400 }

function settings(token: string): VaultAuthoritySettings {
  const login: LoginSettings = { kind: 'tokenFile', tokenFile: workshop.write('token', token) }
  const { address, caFile } = vault
  return { kind: 'vault', address, caFile, mount: 'pki', role: 'ray-pods', mode: 'sign', login }
}

async function tokenOf(name: string, policy: string, wishes: object = {}): Promise<string> {
  await vault.write(`sys/policies/acl/${name}`, { policy })
  const made = await vault.write('auth/token/create', { policies: [name], ...wishes })
  return made.auth?.client_token ?? ''
}

/** A login that makes a token of this policy. */
async function appRole(name: string, policy: string): Promise<LoginSettings> {
  await vault.write(`sys/policies/acl/${name}`, { policy })
  await vault.write('sys/auth/approle', { type: 'approle' })
  await vault.write('auth/approle/role/rayguard', { token_policies: name, token_ttl: '1h' })
  const id = await vault.read('auth/approle/role/rayguard/role-id')
  const secret = await vault.write('auth/approle/role/rayguard/secret-id', {})
  return {
    kind: 'appRole',
    mount: 'approle',
    roleIdFile: workshop.write('role-id', id.data.role_id),
    secretIdFile: workshop.write('secret-id', secret.data.secret_id)
  }
}

/** With a token of this policy, and of `default` as all are unless they are not to. */
async function opened(t: Test, name: string, policy: string, wishes: object = {}) {
  const authority = await openVaultAuthority(settings(await tokenOf(name, policy, wishes)), options)
  t.teardown(authority.close)
  const mend = (anew: string) => vault.write(`sys/policies/acl/${name}`, { policy: anew })
  return { authority, mend }
}
