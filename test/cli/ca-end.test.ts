/** The CA nears its end while the enrollment server runs: what it says of that, and who still gets a certificate. */
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { createAuthorityCertificate } from '../../src/x509/ca.ts'
import { eventually } from '../support/cluster.ts'
import { day, fromNow, minute } from '../support/hand-made-certificates.ts'
import { get, type Place, place, ready, serve } from '../support/served.ts'
import { servedPods } from '../support/served-pods.ts'

const told = /^the CA signs no more, it ends at \d{4}-/

t.test('attack 49: a CA in its last hour is told, and keeps no pod from its answer', async t => {
  const here = await place(t)
  const served = serve(t, here.settings({ trust: 'perCluster' }), ['--components', 'enrollment'])
  const [enrollment = 0, ops = 0] = await Promise.all(['enrollment', 'ops'].map(served.port))
  t.match((await ready(ops)).json, { checks: { authority: 'ok' } }, 'nothing is wrong at first')
  const pods = servedPods(here, enrollment)
  const head = await pods.enrolled('early')

  await endsAt(here, fromNow(59 * minute))
  const report = await eventually('it is seen', async () => {
    const { status, json } = await get(ops, '/readyz')
    return told.test(authorityOf(json)) && { status, json }
  })
  t.match(report, { status: 200, json: { ready: true } }, 'requests still come')
  t.match((await get(ops, '/status')).json, { ready: true, checks: { authority: told } })
  const check = (value: number) => `rayguard_ready_check{check="authority"} ${value}\n`
  t.ok((await get(ops, '/metrics')).text.includes(check(0)), 'and the alert has its reason')

  const again = { status: 503, json: { code: 'AuthorityUnavailable' } }
  t.match(await pods.ask('late'), again, 'who needs the CA is told to come again')
  const worker = await pods.ask('early', 'worker')
  t.equal(worker.status, 201, 'a RayCluster whose CA is in memory needs it not')
  t.equal(worker.json.trustAnchors, head.json.trustAnchors, 'and has the same as before')

  await endsAt(here, fromNow(400 * day))
  await eventually('the next is seen', async () => {
    return authorityOf((await get(ops, '/readyz')).json) === 'ok'
  })
  t.ok((await get(ops, '/metrics')).text.includes(check(1)))
  t.ok(await pods.enrolled('later'), 'all goes on')
})

t.test('attack 49: a server that starts in the last hour of its CA says so too', async t => {
  const here = await place(t)
  await endsAt(here, fromNow(59 * minute))
  const served = serve(t, here.settings({ trust: 'shared' }), ['--components', 'enrollment'])
  const [enrollment = 0, ops = 0] = await Promise.all(['enrollment', 'ops'].map(served.port))
  t.match((await ready(ops)).json, { checks: { authority: told } })
  t.match(await servedPods(here, enrollment).ask('demo'), {
    status: 503,
    json: { code: 'AuthorityUnavailable' }
  })
})

/** The certificate of the CA anew, of the same key. */
async function endsAt({ file }: Place, notAfter: Date): Promise<void> {
  const privateKey = createPrivateKey(readFileSync(file('pods.key')))
  const certificate = await createAuthorityCertificate({
    ...{ commonName: 'pods', keys: { privateKey, publicKey: createPublicKey(privateKey) } },
    ...{ pathLength: 1, serialNumber: randomBytes(16) },
    ...{ notBefore: fromNow(-minute), notAfter }
  })
  writeFileSync(file('pods.crt'), certificate)
}

function authorityOf(json: Record<string, unknown>): string {
  return (json.checks as Record<string, string>).authority ?? ''
}
