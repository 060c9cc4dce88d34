/** Vault goes away while the enrollment server runs: its Service keeps its replicas, and who needs no Vault is served. */
import t from 'tap'
import { eventually } from '../support/cluster.ts'
import { get, place, ready, serve } from '../support/served.ts'
import { servedPods } from '../support/served-pods.ts'
import { setUpPki } from '../support/vault-pki.ts'
import { startVault } from '../support/vault-server.ts'
import { openWorkshop } from '../x509/openssl.ts'

const skip = process.env.RAYGUARD_TEST_SKIP
if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

t.test('an outage of Vault is told, and takes no replica out of its Service', async t => {
  const workshop = openWorkshop(t)
  const vault = await startVault(workshop)
  t.teardown(() => vault.close())
  await setUpPki(vault)
  await vault.write('sys/mounts/transit', { type: 'transit' })
  await vault.write('transit/keys/rayguard', { type: 'aes256-gcm96' })
  const here = await place(t)
  const settings = here.settings({
    trust: 'perCluster',
    authority: {
      ...{ kind: 'vault', address: vault.address, caFile: vault.caFile },
      ...{ mount: 'pki', role: 'ray-pods', transit: { key: 'rayguard' } },
      login: { kind: 'tokenFile', tokenFile: workshop.write('token', vault.token) }
    }
  })
  const start = async () => {
    const { port } = serve(t, settings, ['--components', 'enrollment'])
    const [enrollment = 0, ops = 0] = await Promise.all(['enrollment', 'ops'].map(port))
    return { enrollment, ops, authority: () => authorityOf(ops) }
  }
  const { enrollment, ops, authority } = await start()
  await ready(ops)
  const pods = servedPods(here, enrollment)
  const head = await pods.enrolled('early')

  await vault.seal()
  await eventually('the outage is told', async () => /sealed/.test(await authority()))
  t.match(await get(ops, '/readyz'), { status: 200, json: { ready: true } }, 'requests still come')
  t.match((await get(ops, '/status')).json, { ready: true, checks: { authority: /sealed/ } })
  const { text } = await get(ops, '/metrics')
  t.match(text, /^rayguard_ready_check\{check="authority"\} 0$/m, 'and the alert has its reason')

  const again = { status: 503, json: { code: 'AuthorityUnavailable' } }
  t.match(await pods.ask('late'), again, 'who needs Vault is told to come again')
  const worker = await pods.ask('early', 'worker')
  t.equal(worker.status, 201, 'a RayCluster whose CA is in memory needs it not')
  t.equal(worker.json.trustAnchors, head.json.trustAnchors, 'and has the same as before')

  // The replicas of before serve on; one that knows no CA could not even say who signs.
  const another = await start()
  t.match(await get(another.ops, '/readyz'), { status: 503, json: { ready: false } })
  t.match(await another.authority(), /^is not there yet: .*sealed/, 'one that starts is not ready')

  await vault.unseal()
  await eventually('it is back', async () => (await authority()) === 'ok')
  await ready(another.ops)
  t.equal(await another.authority(), 'ok', 'both have it')
  t.ok(await pods.enrolled('later'), 'and all goes on')
})

async function authorityOf(ops: number): Promise<string> {
  const { checks } = (await get(ops, '/readyz')).json as { checks?: Record<string, string> }
  return checks?.authority ?? ''
}
