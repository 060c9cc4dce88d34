/** What is asked for and not signed yet: for which key, and when it is given up. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import t from 'tap'
import { AuthorityError } from '../../src/authority/authority.ts'
import { usableChain } from '../../src/authority/pem-files.ts'
import { type Asked, createPending } from '../../src/authority/per-cluster/pending.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const workshop = openWorkshop(t)
makeCa(workshop, 'former')
const [renews] = usableChain(workshop.read('former.crt'), { now: new Date() }).certificates
const demo = { namespace: 'team', name: 'demo', uid: 'demo-uid' }
const newKey = () => makeKeyPairSync().privateKey
const spki = (key: KeyObject) => createPublicKey(key).export({ type: 'spki', format: 'der' })

function stage() {
  const signed: Asked[] = []
  const withdrawn: Asked[] = []
  let patient = true
  const pending = createPending({
    async sign(asked) {
      signed.push(asked)
      if (patient) return `certificate ${signed.length}`
      throw new AuthorityError('Unavailable', 'not yet')
    },
    withdraw: asked => void withdrawn.push(asked),
    clock: () => 1
  })
  const setSlow = () => {
    patient = false
  }
  return { pending, signed, withdrawn, setSlow }
}

if (renews === undefined) throw new Error('a CA is a chain of one certificate at least')

t.test('a CA is renewed for the key that it has', async t => {
  const { pending, signed } = stage()
  await pending.signed(demo)
  const privateKey = newKey()
  const first = await pending.signed(demo, { privateKey, renews })
  t.ok(first.privateKey.equals(privateKey), 'not for the key of what was asked before')
  t.equal(first.certificate, 'certificate 2')
  t.ok(signed[1]?.privateKey.equals(privateKey))
  const same = await pending.signed(demo, { privateKey, renews })
  t.equal(same.certificate, 'certificate 2', 'once for that key')
  const others = await pending.signed(demo, { privateKey: newKey(), renews })
  t.equal(others.certificate, 'certificate 3', 'what another replica has put in its place')
})

t.test('what is in the quota of a namespace', async t => {
  const { pending, setSlow } = stage()
  setSlow()
  await t.rejects(pending.signed(demo, { privateKey: newKey(), renews }))
  t.strictSame(pending.ofNamespace('team'), [], 'a CA that is renewed is counted where it stands')
  await t.rejects(pending.signed({ ...demo, uid: 'second' }))
  t.strictSame(pending.ofNamespace('team'), ['second'])
  t.strictSame(pending.ofNamespace('other'), [])
})

t.test('who has lost is given up', async t => {
  const { pending, withdrawn, setSlow } = stage()
  setSlow()
  const privateKey = newKey()
  await t.rejects(pending.signed(demo, { privateKey, renews }))
  pending.keepOnly(demo.uid, spki(privateKey))
  t.equal(withdrawn.length, 0, 'it is the key that stands')
  pending.keepOnly(demo.uid, spki(newKey()))
  t.ok(withdrawn[0]?.privateKey.equals(privateKey), 'another stands: its request is taken back')
  pending.keepOnly('unknown', spki(privateKey))

  await t.rejects(pending.signed(demo, { privateKey, renews }))
  pending.drop(demo.uid)
  t.equal(withdrawn.length, 2)
})
