import { spawnSync } from 'node:child_process'
import t from 'tap'
import { addressesOfPods } from '../../src/demo/addresses.ts'
import { createNarrator } from '../../src/demo/narrator.ts'

t.test('the demonstration goes as told and ends with 0', async t => {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['dist/rayguard.js', 'demo'], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH }
  })
  t.equal(status, 0, `exit code; its errors: ${stderr}`)
  t.match(stdout, 'All went as told.', 'the last line')
  t.notMatch(stdout, '✗', 'no claim that does not hold')
  t.notMatch(stdout, '\u001b[', 'no colours where no terminal reads')
  t.match(stdout, 'each cluster trusts a CA of its own', 'a pod of another cluster is refused')
  for (const code of ['403 SourceAddress', '403 RayClusterNotFound', '503 IPMismatch']) {
    t.match(stdout, code, `the refusal ${code} is shown`)
  }
  t.notMatch(stdout, 'PRIVATE KEY', 'no key is shown')
  t.notMatch(stdout, 'eyJ', 'no token is shown')
})

t.test('with one CA for all clusters a pod of another one is let in, and that is said', async t => {
  const shared = ['dist/rayguard.js', 'demo', '--trust', 'shared']
  const { status, stdout, stderr } = spawnSync(process.execPath, shared, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH }
  })
  t.equal(status, 0, `exit code; its errors: ${stderr}`)
  t.match(stdout, 'with trust: shared it is let in', 'the difference is shown')
})

t.test('what the demonstration cannot do is said', async t => {
  const run = (PATH: string | undefined, ...parameters: string[]) =>
    spawnSync(process.execPath, ['dist/rayguard.js', 'demo', ...parameters], {
      encoding: 'utf8',
      env: { PATH }
    })
  const other = run(process.env.PATH, '--trust', 'nobody')
  t.equal(other.status, 2, 'a usage error')
  t.match(other.stderr, '"nobody"', 'it says what was found')
  const without = run('/nonexistent', '--authority', 'pkcs11')
  t.equal(without.status, 1, 'without SoftHSM')
  t.match(without.stderr, 'package softhsm2', 'it says what to install')
})

t.test('a claim that does not hold makes the demonstration fail', async t => {
  const written: string[] = []
  const narrator = createNarrator(text => written.push(text), true)
  narrator.heading('heading')
  narrator.expect(true, 'holds')
  t.equal(narrator.failures, 0, 'nothing has failed yet')
  narrator.expect(false, 'does not hold', 'why')
  narrator.diff('--- a\n+++ b\n@@ -1 +1 @@\n-old\n+new\n same\n')
  t.equal(narrator.failures, 1, 'the failure is counted')
  t.match(written.join(''), '\u001b[31m✗', 'in red where colours are shown')
  t.match(written.join(''), '\u001b[32m+new', 'what a diff adds is green')
})

t.test('pods get addresses of their own that this machine can send from', async t => {
  const addresses = await addressesOfPods(3)
  t.equal(new Set(addresses).size, 3, 'as many as asked for, all different')
  await t.rejects(addressesOfPods(300), { message: /needs 300 addresses/ }, 'too many')
})
