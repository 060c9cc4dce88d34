/** A role of the PKI secrets engine of a real Vault, over TLS. */
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import {
  type Authority,
  AuthorityError,
  type IssuedCertificate
} from '../../src/authority/authority.ts'
import { openAuthority } from '../../src/authority/open.ts'
import { createPerClusterAuthority } from '../../src/authority/per-cluster/per-cluster.ts'
import { createClusterSecrets } from '../../src/authority/per-cluster/secrets.ts'
import type { LoginSettings } from '../../src/authority/vault/login.ts'
import { createSession } from '../../src/authority/vault/session.ts'
import { createTransport } from '../../src/authority/vault/transport.ts'
import {
  openVaultAuthority,
  type VaultAuthoritySettings
} from '../../src/authority/vault/vault-authority.ts'
import { createStandIn } from '../../src/demo/stand-in.ts'
import { createClient } from '../../src/kubernetes/client.ts'
import { createAuthorityCertificate } from '../../src/x509/ca.ts'
import { keyIdentifierOf, readCertificate } from '../../src/x509/certificate.ts'
import { checkIntermediate } from '../../src/x509/check-intermediate.ts'
import { checkLeaf } from '../../src/x509/check-leaf.ts'
import { type KeyPair, makeKeyPairSync } from '../../src/x509/new-key.ts'
import { readSinglePem } from '../../src/x509/pem.ts'
import { equalBytes } from '../../src/x509/public-key.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import {
  clientToken,
  connectionTo,
  lifetimesOf,
  servingPair,
  startStage
} from '../support/enrollment-stage.ts'
import { intermediateRequest } from '../support/intermediate-request.ts'
import { rayCluster, rayPod, serviceOf } from '../support/ray-objects.ts'
import { podRole, setUpPki } from '../support/vault-pki.ts'
import { startVault, type VaultServer } from '../support/vault-server.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const skip = process.env.RAYGUARD_TEST_SKIP
if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

const workshop = openWorkshop(t)
const options = { clock: Date.now, random: randomBytes, pollMs: 0, lifetimeSeconds: 86_400 }
const names = {
  dnsNames: ['localhost', 'demo-head-svc.team.svc.cluster.local'],
  ipAddresses: ['127.0.0.1', '::1', '10.0.0.7']
}
const podKey = makeKeyPairSync().privateKey
const csrOf = (asked?: typeof names) =>
  readSinglePem(createCertificateRequest(podKey, asked), 'CERTIFICATE REQUEST') ?? new Uint8Array()
const request = {
  publicKey: createPublicKey(podKey).export({ type: 'spki', format: 'der' }),
  csr: csrOf(),
  names,
  lifetimeSeconds: 86_400,
  rayCluster: { namespace: 'team', name: 'demo', uid: 'a3f1' }
}

const policy = `
path "pki/sign/ray-pods" { capabilities = ["update"] }
path "pki/root/sign-intermediate" { capabilities = ["update"] }
path "transit/encrypt/rayguard" { capabilities = ["update"] }
path "transit/decrypt/rayguard" { capabilities = ["update"] }
path "sys/capabilities-self" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
`

let vault: VaultServer
let root = ''
t.before(async () => {
  vault = await startVault(workshop)
  root = await setUpPki(vault)
  workshop.write('root.crt', root)
  await vault.write('sys/policies/acl/rayguard', { policy })
  await vault.write('sys/auth/approle', { type: 'approle' })
  await vault.write('auth/approle/role/rayguard', { token_policies: 'rayguard', token_ttl: '1h' })
  const id = await vault.read('auth/approle/role/rayguard/role-id')
  const secret = await vault.write('auth/approle/role/rayguard/secret-id', {})
  workshop.write('role-id', `${id.data.role_id}\n`)
  workshop.write('secret-id', secret.data.secret_id)
})
t.teardown(() => vault.close())

const appRole = (): LoginSettings => ({
  kind: 'appRole',
  mount: 'approle',
  roleIdFile: workshop.path('role-id'),
  secretIdFile: workshop.path('secret-id')
})

function settings(changes: Partial<VaultAuthoritySettings> = {}): VaultAuthoritySettings {
  return {
    kind: 'vault',
    address: vault.address,
    caFile: vault.caFile,
    mount: 'pki',
    role: 'ray-pods',
    mode: 'sign',
    login: appRole(),
    ...changes
  }
}

/** What enrollment would find; none of it may be wrong. */
const problems = (issued: IssuedCertificate) =>
  checkLeaf(issued, {
    publicKey: request.publicKey,
    names,
    now: new Date(),
    maximumLifetimeSeconds: request.lifetimeSeconds
  })

const failure = (opening: Promise<Authority>): Promise<Error> =>
  opening.then(
    async authority => {
      await authority.close()
      return new Error('opened')
    },
    (error: Error) => error
  )

/** Once it works again. */
async function eventually(authority: Authority): Promise<IssuedCertificate> {
  for (let tries = 0; ; tries++) {
    try {
      return await authority.issue(request)
    } catch (error) {
      if (!(error instanceof AuthorityError) || tries > 100) throw error
      await sleep(200)
    }
  }
}

t.test('a role signs exactly the names that it is given', async t => {
  const authority = await openAuthority(settings(), options)
  t.equal(authority.namesFrom, 'server', 'the pod’s request asks for none')
  t.match(authority.describe(), { kind: 'vault', subject: 'CN=Ray pods', notBefore: Date })
  const issued = await authority.issue(request)
  t.strictSame(problems(issued), [], 'our own check')
  t.equal(issued.trustAnchors.trim(), root.trim(), 'the CA is the anchor')
  workshop.write('leaf.crt', issued.certificate)
  const judged = workshop.judge(
    'verify',
    '-x509_strict',
    '-purpose',
    'sslserver',
    '-CAfile',
    'root.crt',
    'leaf.crt'
  )
  t.ok(judged.ok, `openssl ${judged.output}`)
  const shown = workshop.run('x509', '-in', 'leaf.crt', '-noout', '-ext', 'subjectAltName')
  t.strictSame(
    shown.split('\n')[1]?.trim().split(', ').sort(),
    [
      'DNS:demo-head-svc.team.svc.cluster.local',
      'DNS:localhost',
      'IP Address:0:0:0:0:0:0:0:1',
      'IP Address:10.0.0.7',
      'IP Address:127.0.0.1'
    ],
    'and no other name'
  )
  const many = await Promise.all(Array.from({ length: 100 }, () => authority.issue(request)))
  t.equal(new Set(many.map(({ serialNumber }) => serialNumber)).size, 100, 'a hundred at once')
  t.strictSame(many.flatMap(problems), [])
  await t.rejects(
    authority.issue({ ...request, purpose: 'client', names: { dnsNames: [], ipAddresses: [] } }),
    { code: 'PodsOnly' },
    'attack 93: the role is for pods, and is not asked for a client'
  )
  await authority.close()
  await t.rejects(authority.issue(request), 'closed is closed')
})

t.test('names in the request itself are of no use where the role is as documented', async t => {
  const authority = await openAuthority(settings(), options)
  const csr = csrOf({
    dnsNames: ['other-head-svc.victims.svc.cluster.local'],
    ipAddresses: ['10.9.9.9']
  })
  t.strictSame(
    problems(await authority.issue({ ...request, csr })),
    [],
    'attack: they are left out'
  )
  await authority.close()
})

t.test('a role that makes something else is found at the start, with what to set', async t => {
  const rows: [string, object, RegExp][] = [
    ['wants no addresses', { allow_ip_sans: false }, /IP|ip_sans/i],
    ['for clients alone', { server_flag: false }, /server_flag=true/],
    [
      'signs code, too',
      { code_signing_flag: true },
      /server_flag=true client_flag=true, no other flag/
    ],
    ['other usages', { key_usage: ['KeyAgreement'] }, /key_usage=DigitalSignature/],
    ['organizations', { organization: ['Acme'] }, /no organization/],
    ['minutes', { max_ttl: '10m' }, /max_ttl/]
  ]
  for (const [what, changes, words] of rows) {
    await vault.write('pki/roles/wrong', { ...podRole, ...changes })
    await vault.write('sys/policies/acl/wrong', { policy: policy.replaceAll('ray-pods', 'wrong') })
    const token =
      (await vault.write('auth/token/create', { policies: ['wrong'] })).auth?.client_token ?? ''
    const login = { kind: 'tokenFile' as const, tokenFile: workshop.write('wrong-token', token) }
    const error = await failure(openVaultAuthority(settings({ role: 'wrong', login }), options))
    t.match(error, { name: 'AuthorityError', message: words }, `${what}: ${error.message}`)
  }
})

t.test('attack 44: what Vault has signed is known to be made, of use or not', async t => {
  const authority = await openVaultAuthority(settings(), options)
  await vault.write('pki/roles/ray-pods', { ...podRole, max_ttl: '10m' })
  const short = { code: 'Invalid', made: true, message: /max_ttl/ }
  await t.rejects(authority.issue(request), short, 'a life that is too short')
  await vault.write('pki/roles/ray-pods', { ...podRole, allow_any_name: false })
  await t.rejects(authority.issue(request), { name: 'AuthorityError', made: false }, 'a no is none')
  await vault.write('pki/roles/ray-pods', podRole)
  await authority.close()
})

t.test('what is wrong is said in words, and never with a token or a secret id', async t => {
  const secret = workshop.read('secret-id')
  makeCa(workshop, 'stranger')
  const wrongSecret = workshop.write('wrong-secret', '11111111-2222-3333-4444-555555555555')
  const rows: [string, Partial<VaultAuthoritySettings>, string, RegExp][] = [
    ['attack 54: another CA', { caFile: workshop.path('stranger.crt') }, 'Invalid', /caFile/],
    ['no caFile', { caFile: '/nowhere/ca.crt' }, 'Unavailable', /nowhere/],
    ['nobody there', { address: 'https://127.0.0.1:1' }, 'Unavailable', /ECONNREFUSED/],
    [
      'a wrong secret id',
      { login: { ...appRole(), secretIdFile: wrongSecret } as LoginSettings },
      'Refused',
      /login/
    ],
    [
      'a wrong token',
      { login: { kind: 'tokenFile', tokenFile: workshop.write('t', 'hvs.nonsense') } },
      'Refused',
      /expired, was revoked, or is none/
    ],
    [
      'an empty token',
      { login: { kind: 'tokenFile', tokenFile: workshop.write('e', '\n') } },
      'Invalid',
      /is empty/
    ],
    ['no such mount', { mount: 'pkj' }, 'Refused', /authority\.mount/],
    ['a role that the policy does not name', { role: 'other' }, 'Refused', /policy/],
    ['no such issuer', { issuerRef: 'nobody' }, 'Unavailable', /issuer/]
  ]
  for (const [what, changes, code, words] of rows) {
    const error = await failure(openVaultAuthority(settings(changes), options))
    t.match(error, { message: words }, `${what}: ${error.message}`)
    t.match(error, { name: 'AuthorityError' }, what)
    if (what !== 'no such issuer' && what !== 'no caFile') t.match(error, { code }, what)
    const shown = `${error.message} ${error.stack} ${(error.cause as Error)?.stack}`
    for (const hidden of [secret, '11111111-2222', 'hvs.nonsense'])
      t.notOk(shown.includes(hidden), `attack 46: ${what}: no secret`)
  }
})

t.test('sealed, unsealed, restarted: pods come again, nothing is lost', async t => {
  const authority = await openAuthority(settings(), options)
  await vault.seal()
  await t.rejects(authority.issue(request), { code: 'Unavailable', message: /sealed/ })
  const waiting = Array.from({ length: 20 }, () => eventually(authority))
  await sleep(300)
  await vault.unseal()
  t.strictSame((await Promise.all(waiting)).flatMap(problems), [], 'all twenty have theirs')
  await vault.stop()
  await t.rejects(authority.issue(request), { code: 'Unavailable' }, 'gone')
  const more = Array.from({ length: 20 }, () => eventually(authority))
  await vault.start()
  await sleep(300)
  await vault.unseal()
  t.strictSame((await Promise.all(more)).flatMap(problems), [], 'all twenty have theirs')
  t.equal(authority.problem?.(), undefined, 'and it is ready')
  await authority.close()
})

t.test('a token that has ended in the middle is had anew', async t => {
  await vault.write('auth/approle/role/rayguard', {
    token_policies: 'rayguard',
    token_ttl: '3s',
    token_max_ttl: '4s'
  })
  const authority = await openAuthority(settings(), options)
  const end = Date.now() + 9_000
  let count = 0
  while (Date.now() < end) {
    t.strictSame(problems(await authority.issue(request)), [])
    count += 1
    await sleep(200)
  }
  t.ok(count > 5, `${count} certificates over two lives of a token`)
  await authority.close()
  await vault.write('auth/approle/role/rayguard', {
    token_policies: 'rayguard',
    token_ttl: '1h',
    token_max_ttl: '0'
  })

  const token =
    (await vault.write('auth/token/create', { policies: ['rayguard'], ttl: '1h' })).auth
      ?.client_token ?? ''
  const tokenFile = workshop.write('token', token)
  const byFile = await openAuthority(settings({ login: { kind: 'tokenFile', tokenFile } }), options)
  t.strictSame(problems(await byFile.issue(request)), [], 'a token from a file')
  await vault.write('auth/token/revoke', { token })
  await t.rejects(byFile.issue(request), { name: 'AuthorityError' }, 'revoked')
  const next =
    (await vault.write('auth/token/create', { policies: ['rayguard'], ttl: '1h' })).auth
      ?.client_token ?? ''
  workshop.write('token', next)
  t.strictSame(problems(await eventually(byFile)), [], 'the next one in the file is taken')
  await byFile.close()
})

/** Of the test's policy, unless with others. */
async function newToken(changes: object): Promise<string> {
  const { auth } = await vault.write('auth/token/create', { policies: ['rayguard'], ...changes })
  return auth?.client_token ?? ''
}

t.test('a token that can be renewed lives on, and is the same', async t => {
  const ttl = 15
  const token = await newToken({ ttl: `${ttl}s`, explicit_max_ttl: '1h' })
  const tokenFile = workshop.write('renewable', token)
  const login = { kind: 'tokenFile' as const, tokenFile }
  const authority = await openAuthority(settings({ login }), options)
  // A login could not make it live on: it would only look at the file again. Throws when Vault knows it no more.
  const found = async () => (await vault.write('auth/token/lookup', { token })).data
  const { creation_time: since } = await found()
  const lived = async () => Date.parse((await found()).expire_time) / 1000 - since
  while ((await lived()) <= 1.5 * ttl) await sleep(200)
  t.type((await found()).last_renewal_time, 'number', 'Vault knows of it')
  t.strictSame(problems(await authority.issue(request)), [], 'and signs with it')
  await authority.close()
})

t.test('a login that failed is tried again by itself', async t => {
  const first = await newToken({ ttl: '1h' })
  const login = { kind: 'tokenFile' as const, tokenFile: workshop.write('replaced', first) }
  const authority = await openAuthority(settings({ login }), options)
  t.teardown(authority.close)
  const until = async (is: 'ready' | 'not ready') => {
    while ((authority.problem?.() === undefined) !== (is === 'ready')) await sleep(50)
  }
  await vault.write('auth/token/revoke', { token: first })
  while (authority.problem?.() === undefined) {
    await t.rejects(authority.issue(request), { name: 'AuthorityError' }, 'it was revoked')
    await sleep(200)
  }
  t.match(authority.problem?.(), /expired, was revoked/, 'and so is the one in the file')
  workshop.write('replaced', await newToken({ ttl: '12s', renewable: false }))
  await until('ready')
  t.strictSame(problems(await authority.issue(request)), [], 'the next one was taken unasked')
  await until('not ready')
  t.match(authority.problem?.(), /expired, was revoked/, 'its end is seen unasked, too')
  workshop.write('replaced', await newToken({ ttl: '1h' }))
  await until('ready')
  t.strictSame(problems(await authority.issue(request)), [])
})

t.test('the pod’s own token opens the door, to a role of Kubernetes', async t => {
  // Stands for the API server's TokenReview, over TLS; Vault itself is real.
  const pair = servingPair()
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const reviewer = `${part({ alg: 'RS256' })}.${part({ sub: 'vault' })}.c2ln`
  const standIn = createStandIn({ ...pair, clientToken: reviewer, clock: Date.now })
  t.teardown(() => standIn.close())
  const kubernetes = await standIn.listen()
  standIn.put({
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: { name: 'default', namespace: 'team-a', uid: 'sa-uid' }
  })
  const pod = standIn.put(rayPod({ name: 'server-1', ips: ['127.0.0.9'] }))
  await vault.write('sys/auth/kubernetes', { type: 'kubernetes' })
  await vault.write('auth/kubernetes/config', {
    kubernetes_host: kubernetes,
    kubernetes_ca_cert: pair.ca,
    token_reviewer_jwt: reviewer
  })
  const role = (account: string) =>
    vault.write('auth/kubernetes/role/rayguard', {
      bound_service_account_names: account,
      bound_service_account_namespaces: pod.metadata.namespace,
      audience: 'vault',
      token_policies: 'rayguard'
    })
  const token = standIn.issueToken(pod, { audience: 'vault' })
  const login: LoginSettings = {
    kind: 'kubernetes',
    mount: 'kubernetes',
    role: 'rayguard',
    tokenFile: workshop.write('pod-token', token)
  }
  await role(pod.spec.serviceAccountName ?? 'default')
  const authority = await openVaultAuthority(settings({ login }), options)
  t.strictSame(problems(await authority.issue(request)), [])
  await authority.close()
  await role('another')
  const error = await failure(openVaultAuthority(settings({ login }), options))
  t.match(error, { code: 'Refused', message: /login/ }, 'attack: another account')
  t.notOk(`${error.message} ${error.stack}`.includes(token), 'attack 46: no token')
})

t.test('sign-verbatim signs what the pod’s own request asks, and the usages of ours', async t => {
  await vault.write('sys/policies/acl/verbatim', {
    policy: policy.replace('pki/sign/ray-pods', 'pki/sign-verbatim/ray-pods')
  })
  const token =
    (await vault.write('auth/token/create', { policies: ['verbatim'] })).auth?.client_token ?? ''
  const login = { kind: 'tokenFile' as const, tokenFile: workshop.write('verbatim', token) }
  const authority = await openAuthority(settings({ mode: 'sign-verbatim', login }), options)
  t.equal(authority.namesFrom, 'request', 'pods are told to ask for their names')
  t.strictSame(problems(await authority.issue({ ...request, csr: csrOf(names) })), [])
  const more = {
    ...names,
    dnsNames: [...names.dnsNames, 'other-head-svc.victims.svc.cluster.local']
  }
  const codes = problems(await authority.issue({ ...request, csr: csrOf(more) })).map(
    ({ code }) => code
  )
  t.strictSame(
    codes,
    ['Names'],
    'attack: one more name, were it to come so far, is seen by the check of every answer'
  )
  await authority.close()
})

t.test('the CA of a Ray cluster, and a key that seals what is kept of it', async t => {
  await vault.write('sys/mounts/transit', { type: 'transit' })
  await vault.write('transit/keys/rayguard', { type: 'aes256-gcm96' })
  const authority = await openVaultAuthority(
    settings({ transit: { mount: 'transit', key: 'rayguard' } }),
    options
  )
  t.equal(authority.intermediates?.problem(), undefined)
  const key = makeKeyPairSync().privateKey
  const commonName = 'RayCluster a3f1'
  const asked = intermediateRequest(key, commonName, 86_400)
  const pem = (await authority.intermediates?.issue(asked)) ?? ''
  const found = checkIntermediate(pem, {
    ...{
      publicKey: asked.publicKey,
      commonName,
      maximumLifetimeSeconds: 86_400,
      now: new Date(),
      issuers: root
    }
  })
  t.strictSame(found, [], 'it is as it was asked for')
  const signed = readCertificate(readSinglePem(pem, 'CERTIFICATE') ?? new Uint8Array())
  t.ok(equalBytes(signed.subject, asked.subject), 'its name is byte for byte as we write it')
  const identifier = keyIdentifierOf(signed) ?? new Uint8Array()
  t.ok(equalBytes(identifier, asked.keyIdentifier), 'and its key identifier, by our rule')
  workshop.write('cluster.crt', pem)
  const judged = workshop.judge('verify', '-x509_strict', '-CAfile', 'root.crt', 'cluster.crt')
  t.ok(judged.ok, `openssl ${judged.output}`)

  const plain = Buffer.from('a key')
  const sealed = (await authority.protection?.seal(plain, 'team/demo')) ?? new Uint8Array()
  t.notOk(Buffer.from(sealed).includes(plain), 'sealed')
  t.strictSame(Buffer.from((await authority.protection?.open(sealed, 'team/demo')) ?? []), plain)
  await t.rejects(
    async () => void (await authority.protection?.open(sealed, 'team/other')),
    { code: 'Refused' },
    'attack: under the name of another cluster it does not open'
  )
  t.equal(authority.protection?.isCurrent?.(sealed), true, 'by the version that seals now')
  await vault.write('transit/keys/rayguard/rotate', {})
  await authority.protection?.seal(plain, 'team/demo')
  t.equal(authority.protection?.isCurrent?.(sealed), false, 'rotated: it should be sealed anew')
  await authority.close()
})

t.test('an opening that fails spends no more than it must', async t => {
  await vault.write('auth/approle/role/once', {
    ...{ token_policies: 'rayguard', secret_id_num_uses: 1 }
  })
  const { data: id } = await vault.read('auth/approle/role/once/role-id')
  const { data: secret } = await vault.write('auth/approle/role/once/secret-id', {})
  const login: LoginSettings = {
    ...{ kind: 'appRole', mount: 'approle' },
    roleIdFile: workshop.write('once-id', id.role_id),
    secretIdFile: workshop.write('once-secret', secret.secret_id)
  }
  const nowhere = await failure(openVaultAuthority(settings({ login, mount: 'pkj' }), options))
  t.match(nowhere, { code: 'Refused', message: /authority\.mount/ }, 'no such mount')
  const opened = await openVaultAuthority(settings({ login }), options)
  t.ok(opened, 'the one login of the secret id is left')
  await opened.close()

  await vault.write('pki/roles/kept', { ...podRole, no_store: false })
  const signs = policy.replaceAll('ray-pods', 'kept').replace(/^path "transit.*\n/gm, '')
  await vault.write('sys/policies/acl/kept', { policy: signs })
  const tokenFile = workshop.write('kept-token', await newToken({ policies: ['kept'] }))
  const kept = settings({ role: 'kept', login: { kind: 'tokenFile', tokenFile } })
  const count = async () => (await vault.read('pki/certs?list=true')).data.keys.length
  const before = await count()
  const transit = { mount: 'transit', key: 'rayguard' }
  const denied = await failure(openVaultAuthority({ ...kept, transit }, options))
  t.match(denied, { code: 'Refused', message: /transit\/encrypt/ }, 'no right to the transit key')
  t.equal(await count(), before, 'and no certificate was made')
  await (await openVaultAuthority(kept, options)).close()
  t.equal(await count(), before + 1, 'as one is where all is well')
})

t.test('a CA for each RayCluster below Vault’s, its key sealed by Vault', async t => {
  const pair = servingPair()
  // Stands for the Secrets of Rayguard's namespace alone.
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  const client = createClient(connectionTo(await standIn.listen(), pair.ca), { timeoutMs: 30_000 })
  const external = await openVaultAuthority(
    settings({ transit: { mount: 'transit', key: 'rayguard' } }),
    options
  )
  t.teardown(async () => {
    await client.close()
    await standIn.close()
    await external.close()
  })
  const replica = () =>
    createPerClusterAuthority({
      ...{ authority: external, secrets: createClusterSecrets(client, 'rayguard-system') },
      ...{ clock: Date.now, apiClock: Date.now, random: randomBytes },
      record: async () => ({ trust: 'perCluster', since: 0, settled: false }),
      podsOf: () => [{ node: 'head', createdAt: Date.now(), certificate: 'unknown' }],
      leafSeconds: request.lifetimeSeconds,
      perNamespace: 10,
      onChange: () => {}
    })
  const [one, other] = [replica(), replica()]
  const first = await one.issue(request)
  const second = await other.issue(request)
  t.equal(
    second.trustAnchors,
    first.trustAnchors,
    'the other replica opens what the first has sealed'
  )
  const foreign = await one.issue({ ...request, rayCluster: { ...request.rayCluster, uid: 'b7' } })
  workshop.write('cluster.crt', first.trustAnchors)
  const accepted = (issued: IssuedCertificate) => {
    workshop.write('leaf.crt', issued.certificate)
    return workshop.judge(
      'verify',
      '-x509_strict',
      '-partial_chain',
      '-CAfile',
      'cluster.crt',
      'leaf.crt'
    ).ok
  }
  t.ok(accepted(second), 'pods of a cluster accept each other')
  t.notOk(accepted(foreign), 'attack 52: none of another one')
  const target = { kind: 'Secret', apiVersion: 'v1', namespace: 'rayguard-system', name: '' }
  const secrets = JSON.stringify(standIn.store.list(target, new URLSearchParams()))
  const stored = [...secrets.matchAll(/"([A-Za-z0-9+/=]{40,})"/g)]
    .map(([, text = '']) => Buffer.from(text, 'base64').toString('latin1'))
    .join()
  t.match(stored, /"sealedBy":"vault-transit"/, 'what is kept is sealed')
  t.notMatch(stored, /PRIVATE KEY/, 'attack 51: and no key lies open')
})

t.test('a CA that is replaced in Vault is taken, and its certificates name it', async t => {
  const authority = await openVaultAuthority(settings(), options)
  const made = await vault.write('pki/root/rotate/internal', {
    common_name: 'Ray pods 2',
    key_type: 'ec',
    key_bits: 256,
    issuer_name: 'second',
    ttl: '43800h'
  })
  await vault.write('pki/root/replace', { default: 'second' })
  t.match(await authority.reload(), { loaded: true, description: { subject: 'CN=Ray pods 2' } })
  const issued = await authority.issue(request)
  t.strictSame(problems(issued), [])
  t.ok(
    new X509Certificate(issued.certificate).verify(
      new X509Certificate(made.data.certificate).publicKey
    ),
    'the second signs'
  )
  t.equal(await authority.reload(), undefined, 'nothing has changed since')
  await authority.close()
})

t.test('a CA of a RayCluster that is asked for in such a moment is the new one’s', async t => {
  const authority = await openVaultAuthority(settings(), options)
  t.teardown(authority.close)
  // else it is too soon for another look
  await sleep(2_100)
  const made = await vault.write('pki/root/rotate/internal', {
    ...{ common_name: 'Ray pods 3', key_type: 'ec', key_bits: 256, issuer_name: 'third' },
    ttl: '43800h'
  })
  t.teardown(() => vault.write('pki/root/replace', { default: 'second' }))
  await vault.write('pki/root/replace', { default: 'third' })
  const asked = intermediateRequest(makeKeyPairSync().privateKey, 'RayCluster b7', 86_400)
  const pem = (await authority.intermediates?.issue(asked)) ?? ''
  const issuers = authority.intermediates?.issuers?.() ?? ''
  const found = checkIntermediate(pem, {
    ...{ publicKey: asked.publicKey, commonName: 'RayCluster b7', now: new Date() },
    ...{ maximumLifetimeSeconds: 86_400, issuers }
  })
  t.strictSame(found, [], 'signed by the CA that is known')
  t.equal(issuers.trim(), made.data.certificate.trim(), 'which is the third')
})

t.test('attack on ourselves: what no token may makes no token for each try', async t => {
  const role = 'auth/approle/role/few'
  await vault.write(role, { token_policies: 'default', token_ttl: '1h', secret_id_num_uses: 15 })
  const { data: id } = await vault.read(`${role}/role-id`)
  const { data: secret } = await vault.write(`${role}/secret-id`, {})
  const login: LoginSettings = {
    ...{ kind: 'appRole', mount: 'approle' },
    roleIdFile: workshop.write('few-id', id.role_id),
    secretIdFile: workshop.write('few-secret', secret.secret_id)
  }
  const tokens = async () =>
    (await vault.read('auth/token/accessors?list=true')).data.keys.length as number
  const before = await tokens()
  const { address } = vault
  const transport = createTransport({
    ...{ address, ca: workshop.read('vault-ca.crt'), timeoutMs: 10_000 }
  })
  const session = await createSession({ transport, login, pauseMs: 20 })
  for (let tries = 0; tries < 30; tries += 1) {
    await sleep(25)
    await t.rejects(session.post('pki/sign/ray-pods', {}), { code: 'Refused' }, 'denied')
  }
  t.equal(session.problem(), undefined, 'the secret id is not used up')
  while ((await tokens()) > before + 1) await sleep(20)
  t.pass('and no token is left behind but the one in use')
  await session.close()
  await transport.close()
})

t.test('a root that is renewed with its key is taken beside its former certificate', async t => {
  const authority = await openVaultAuthority(settings(), options)
  t.teardown(authority.close)
  const former = (await vault.read('pki/issuer/default')).data
  const { anchorSha256, anchorKeySha256 } = authority.describe()
  const { data } = await vault.write('pki/issuers/generate/root/existing', {
    ...{ common_name: 'Ray pods 2', key_ref: former.key_id, ttl: '87600h' }
  })
  await vault.write('pki/root/replace', { default: data.issuer_id })
  const { ca_chain } = (await vault.read('pki/issuer/default')).data
  t.equal(ca_chain.length, 2, 'Vault tells both as a chain')
  t.match(await authority.reload(), { loaded: true })
  const described = authority.describe()
  t.not(described.anchorSha256, anchorSha256, 'the renewed one')
  t.equal(described.anchorKeySha256, anchorKeySha256, 'of the same CA')
  t.strictSame(problems(await authority.issue(request)), [], 'signs')
})

t.test('a CA whose root has ended signs on, until it ends itself', async t => {
  const dayMs = 86_400_000
  const [above, keys] = [makeKeyPairSync(), makeKeyPairSync()]
  const ca = (commonName: string, own: KeyPair, begins: number, ends: number) =>
    createAuthorityCertificate({
      ...{ commonName, keys: own, pathLength: 1, serialNumber: randomBytes(16) },
      notBefore: new Date(Date.now() + begins * dayMs),
      notAfter: new Date(Date.now() + ends * dayMs),
      issuer: { commonName: 'Company', keys: above }
    })
  const company = await ca('Company', above, -400, -1)
  const low = await ca('Company Ray pods', keys, -300, 300)
  const privateKey = keys.privateKey.export({ type: 'pkcs8', format: 'pem' })
  const bundle = { pem_bundle: `${low}${company}${privateKey}` }
  const imported = await vault.write('pki/issuers/import/bundle', bundle)
  const keyOf: Record<string, string> = imported.data.mapping
  const [id] = Object.entries(keyOf).find(([, key]) => key !== '') ?? []
  await vault.write('pki/root/replace', { default: id })
  const authority = await openVaultAuthority(settings(), options)
  t.teardown(authority.close)
  t.equal((await vault.read(`pki/issuer/${id}`)).data.ca_chain.length, 2, 'Vault tells both')
  const { subject, notAfter } = authority.describe()
  t.equal(subject, 'CN=Company Ray pods')
  t.equal(notAfter.getTime(), Date.parse(new X509Certificate(low).validTo))
  t.strictSame(problems(await authority.issue(request)), [])
  await vault.write('pki/root/replace', { default: 'second' })
})

t.test(
  'a pod is told to come again while Vault is sealed, and then gets its certificate',
  async t => {
    const realAuthority = await openVaultAuthority(settings(), options)
    const stage = await startStage({ realAuthority, lifetimes: lifetimesOf(86_400) })
    t.teardown(async () => {
      await stage.close()
      await realAuthority.close()
    })
    const cluster = rayCluster('demo', {
      head: { podName: 'head-1', serviceName: 'demo-head-svc' }
    })
    stage.standIn.put(cluster)
    stage.standIn.put(serviceOf(cluster, 'demo-head-svc'))
    const pod = await stage.run(
      rayPod({ name: 'worker-1', cluster, node: 'worker', ips: ['127.0.0.3'] })
    )
    await vault.seal()
    const away = await stage.enroll(pod)
    t.match(away, { status: 503, body: { code: 'AuthorityUnavailable' } })
    t.ok(away.headers['retry-after'], 'with a time')
    t.notMatch(
      JSON.stringify(away.body),
      /vault|sealed|token/i,
      'attack 47: and no word about Vault'
    )
    await vault.unseal()
    let reply = away
    for (let tries = 0; reply.status === 503 && tries < 50; tries++) {
      await sleep(200)
      reply = await stage.enroll(pod)
    }
    t.equal(reply.status, 201, 'there it is')
  }
)

t.test('a CA that cannot be taken is not tried at every look', async t => {
  await vault.write('pki/roles/kept', { ...podRole, no_store: false })
  const tokenFile = workshop.write('trials-token', await newToken({ policies: ['kept'] }))
  const login: LoginSettings = { kind: 'tokenFile', tokenFile }
  const ca = workshop.read('vault-ca.crt')
  const caFile = workshop.write('trials-ca.crt', ca)
  const looks = { ...options, pollMs: 20 }
  const authority = await openVaultAuthority(settings({ role: 'kept', login, caFile }), looks)
  t.teardown(authority.close)
  const problem = () => authority.problem?.() ?? ''
  const count = async () => (await vault.read('pki/certs?list=true')).data.keys.length
  const another = async (name: string) => {
    const made = { common_name: `Ray pods ${name}`, key_type: 'ec', key_bits: 256, ttl: '43800h' }
    await vault.write('pki/root/rotate/internal', { ...made, issuer_name: name })
    const before = await count()
    await vault.write('pki/root/replace', { default: name })
    return before
  }
  t.teardown(() => vault.write('pki/root/replace', { default: 'second' }))
  await vault.write('pki/roles/kept', { ...podRole, no_store: false, server_flag: false })
  const before = await another('fourth')
  await until(() => /cannot be used: .*kept/.test(problem()))
  // What each look says anew shows that there was one; the next trial is due after ten seconds.
  for (let looked = 0; looked < 3; looked += 1) {
    workshop.write('trials-ca.crt', 'no certificate')
    await until(() => /trials-ca/.test(problem()))
    workshop.write('trials-ca.crt', ca)
    await until(() => !/trials-ca/.test(problem()))
    t.match(problem(), /cannot be used: .*kept/, 'what is wrong with the file goes with it')
  }
  t.equal(await count(), before + 1, 'one trial is kept')
  await vault.write('pki/roles/kept', { ...podRole, no_store: false })
  await another('fifth')
  await until(() => authority.describe().subject === 'CN=Ray pods fifth')
  t.equal(problem(), '', 'another one is tried at once')
})

async function until(is: () => boolean): Promise<void> {
  while (!is()) await sleep(20)
}
