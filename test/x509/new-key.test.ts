/** Keys that are made, and used while garbage is collected. */
import { spawn } from 'node:child_process'
import { createPublicKey, sign, verify } from 'node:crypto'
import { once } from 'node:events'
import t from 'tap'
import { makeKeyPair, makeKeyPairSync } from '../../src/x509/new-key.ts'

t.test('each algorithm', async t => {
  const message = Buffer.from('message')
  const kinds = { 'P-256': 'prime256v1', 'P-384': 'secp384r1' } as const
  for (const algorithm of ['P-256', 'P-384'] as const) {
    const { privateKey, publicKey } = await makeKeyPair(algorithm)
    t.equal(privateKey.asymmetricKeyDetails?.namedCurve, kinds[algorithm])
    t.ok(verify('sha256', message, publicKey, sign('sha256', message, privateKey)), 'they belong')
  }
  const rsa = await makeKeyPair('RSA-2048')
  t.equal(rsa.privateKey.asymmetricKeyDetails?.modulusLength, 2048)
  const [one, other] = [makeKeyPairSync(), makeKeyPairSync()]
  t.ok(createPublicKey(one.privateKey).equals(one.publicKey))
  t.notOk(one.privateKey.equals(other.privateKey))
})

t.test('a key whose details are read while its job is collected', async t => {
  // In a process of its own, which would stand still. A small heap is collected often.
  const module = JSON.stringify(import.meta.resolve('../../src/x509/new-key.ts'))
  const program = `
    const { createPublicKey } = await import('node:crypto')
    const { makeKeyPairSync } = await import(${module})
    for (let keys = 0; keys < 1000; keys += 1) {
      const { privateKey } = makeKeyPairSync()
      for (let reads = 0; reads < 200; reads += 1) createPublicKey(privateKey).asymmetricKeyDetails
    }`
  const child = spawn(
    process.execPath,
    [...process.execArgv, '--max-semi-space-size=1', '--input-type=module', '-e', program],
    { stdio: ['ignore', 'inherit', 'inherit'], timeout: 60_000, killSignal: 'SIGKILL' }
  )
  const [code] = await once(child, 'exit')
  t.equal(code, 0, 'goes on')
})
