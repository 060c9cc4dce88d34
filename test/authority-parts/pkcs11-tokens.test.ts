/** Which token is meant, and what becomes of one whose PIN must not be tried, or is not taken any more. */
import { createPublicKey, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { openPatiently } from '../../src/authority/patient.ts'
import {
  openTokenAuthority,
  type TokenAuthoritySettings
} from '../../src/authority/pkcs11/token-authority.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { openGatedToken } from '../support/gated-token.ts'
import { libraryFile, openSoftHsm } from '../support/soft-hsm.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const skip = process.env.RAYGUARD_TEST_SKIP
if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

const workshop = openWorkshop(t)
const hsm = openSoftHsm(workshop.directory)
const gated = openGatedToken(workshop.directory)
const pin = '493817'
/** Two tokens of one label, each with the key of another CA of one label. */
const [red = 0, blue = 0] = ['red', 'blue'].map(name => {
  makeCa(workshop, name)
  const file = workshop.path(`${name}.p8`)
  workshop.run('pkcs8', '-topk8', '-nocrypt', '-in', `${name}.key`, '-out', file)
  const slot = hsm.makeToken('pods', pin)
  hsm.importKey(slot, pin, { file, label: 'ca', id: '01' })
  return slot
})
const blank = hsm.makeBlankToken('blank')
workshop.write('pin', `${pin}\n`)

function settings(changes: Partial<TokenAuthoritySettings> = {}): TokenAuthoritySettings {
  return {
    ...{ kind: 'pkcs11', libraryFile, keyLabel: 'ca', sessions: 1 },
    certificateFile: workshop.path('red.crt'),
    pinFile: workshop.path('pin'),
    slot: red,
    ...changes
  }
}

const options = {
  clock: () => Date.now() + 1000,
  random: randomBytes,
  pollMs: 0,
  tokenHost: new URL('../../dist/chunks/token-host.js', import.meta.url)
}
const podKey = makeKeyPairSync().privateKey
const request = {
  publicKey: createPublicKey(podKey).export({ type: 'spki', format: 'der' }),
  csr: Buffer.from(createCertificateRequest(podKey)),
  names: { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] },
  lifetimeSeconds: 86_400,
  rayCluster: { namespace: 'team', name: 'demo', uid: 'a3f1' }
}
/** PKCS#11 2.40 §3.2 and §5.1. */
const flags = { finalTry: 0x20000, locked: 0x40000 }
const answers = { expired: 0xa3, locked: 0xa4, notInitialized: 0x102 }

const opened = async (changes: Partial<TokenAuthoritySettings>) =>
  await openTokenAuthority(settings(changes), options)

t.test('of two tokens with one label the slot says which is meant', async t => {
  await t.rejects(
    opened({ tokenLabel: 'pods', slot: undefined }),
    {
      code: 'Invalid',
      message: new RegExp(
        `2 tokens with the label pods; set authority.slot to one of (${red}, ${blue}|${blue}, ${red})`
      )
    },
    'none is guessed, and the slots are told'
  )
  for (const [name, slot] of [
    ['red', red],
    ['blue', blue]
  ] as const) {
    const certificateFile = workshop.path(`${name}.crt`)
    for (const tokenLabel of ['pods', undefined]) {
      const authority = await opened({ tokenLabel, slot, certificateFile })
      const { certificate } = await authority.issue(request)
      await authority.close()
      workshop.write('leaf.crt', certificate)
      const judged = workshop.judge('verify', '-CAfile', `${name}.crt`, 'leaf.crt')
      t.ok(judged.ok, `${name}, ${tokenLabel ?? 'by its slot alone'}: ${judged.output}`)
    }
  }
  await t.rejects(
    opened({ slot: blue }),
    { code: 'Invalid', message: /does not belong/ },
    'the key of the other one is seen to be another'
  )
  await t.rejects(
    opened({ tokenLabel: 'blank' }),
    {
      code: 'Unavailable',
      message: new RegExp(`with the label blank in slot ${red}; found: .*pods`)
    },
    'label and slot have to be of one token'
  )
})

t.test('a PIN is not tried where that cannot help, or could lock the token', async t => {
  t.teardown(() => gated.say(0))
  const { libraryFile } = gated
  const first = await opened({ libraryFile })
  await first.close()
  t.equal(gated.logins(), 1, 'where nothing is against it, it is')
  for (const [what, said, changes, words] of [
    ['locked', flags.locked, {}, /is locked; its security officer can unlock it.*PIN_LOCKED/],
    ['locked, at last', flags.locked | flags.finalTry, {}, /is locked; its security officer/],
    ['one try is left', flags.finalTry, {}, /One more wrong PIN would lock the token.*log in/],
    ['no PIN is set', 0, { slot: blank }, /no PIN for its user yet; its security officer sets/]
  ] as const) {
    gated.say(said)
    const error = await opened({ libraryFile, ...changes }).then(
      () => new Error('opened'),
      (found: Error) => found
    )
    t.match(error, { code: 'Invalid', message: words }, `${what}: ${error.message}`)
    t.notMatch(error.message, pin, `attack 46: ${what}: no PIN`)
    t.equal(gated.logins(), 1, `${what}: it is not tried`)
  }
})

t.test('what a token answers to a login is told in words', async t => {
  t.teardown(() => gated.answer(0))
  const { libraryFile } = gated
  for (const [answer, words] of [
    [answers.locked, /is locked; its security officer can unlock it.*PIN_LOCKED/],
    [answers.expired, /has expired; set a new one.*PIN_EXPIRED/],
    [answers.notInitialized, /no PIN for its user yet.*PIN_NOT_INITIALIZED/]
  ] as const) {
    gated.answer(answer)
    await t.rejects(opened({ libraryFile }), { code: 'Invalid', message: words }, `${words}`)
  }
})

t.test('a token that was locked is used once it is unlocked, without a restart', async t => {
  t.teardown(() => gated.say(0))
  gated.say(flags.locked)
  const before = gated.logins()
  let faults = 0
  const authority = await openPatiently({
    open: () => opened({ libraryFile: gated.libraryFile }),
    ...{ kind: 'pkcs11', namesFrom: 'server', retryMs: 20, mayEnd: () => false },
    onFault() {
      faults += 1
    }
  })
  t.teardown(() => authority.close())
  while (faults < 3) await sleep(20)
  t.match(authority.problem?.(), /is locked/, 'it says what is wrong')
  t.equal(gated.logins(), before, 'however often it is looked at, no PIN is tried')
  gated.say(0)
  while (authority.problem?.() !== undefined) await sleep(20)
  t.ok((await authority.issue(request)).certificate, 'it signs')
})
