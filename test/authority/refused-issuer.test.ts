import t from 'tap'
import { createRefusedIssuer } from '../../src/authority/vault/refused-issuer.ts'

t.test('the same CA is tried ever more seldom, another one at once', async t => {
  let now = 0
  const refused = createRefusedIssuer(() => now)
  const pauses: number[] = []
  for (let trial = 0; trial < 9; trial += 1) {
    refused.note('no', 'one')
    let passed = 0
    for (; !refused.isDue('one'); passed += 1) now += 1_000
    pauses.push(passed)
  }
  t.strictSame(pauses, [10, 20, 40, 80, 160, 320, 640, 900, 900], 'seconds')
  refused.note('no', 'one')
  t.notOk(refused.isDue('one'), 'not yet')
  t.ok(refused.isDue('two'), 'another one is')
  refused.note('no', 'two')
  now += 10_000
  t.ok(refused.isDue('two'), 'and begins anew')
})

t.test('a reason is news once, until it is over', async t => {
  const refused = createRefusedIssuer(() => 0)
  t.equal(refused.forget(), false, 'nothing was refused')
  t.equal(refused.note('no', 'one'), true, 'news')
  t.equal(refused.note('no', 'one'), false, 'no news')
  t.equal(refused.note('never', 'one'), true, 'another reason')
  t.equal(refused.reason, 'never')
  t.equal(refused.forget(), true, 'over')
  t.equal(refused.reason, undefined)
  t.ok(refused.isDue('one'), 'as if nothing had been')
  t.equal(refused.note('no', 'one'), true, 'and news again')
})
