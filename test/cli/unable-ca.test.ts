/** An issuer whose CA signs none for RayClusters, as it is learned: at the start, and after it. */
import t, { type Test } from 'tap'
import { command } from '../../src/cli/serve.ts'
import { captureIo } from '../support/cli.ts'
import { eventually } from '../support/cluster.ts'
import { kindsOfCertManager, playSigner } from '../support/played-signer.ts'
import { get, place, ready, serve } from '../support/served.ts'
import { servedPods } from '../support/served-pods.ts'
import { caExtensions, makeCa, openWorkshop } from '../x509/openssl.ts'

t.test('one that is there at the start ends it, with the way out', async t => {
  const { settings, comes } = await certManager(t)
  comes(0)
  const io = captureIo()
  t.equal(await command.run(['--config', settings('perCluster'), ...enrollment], io), 2, 'it ends')
  t.match(
    io.err(),
    /^rayguard serve: trust: perCluster needs a CA that signs one for each Ray cluster, and this one does not: the path length of the CA \(0\) leaves no room for a CA below it\. Use another CA, or set trust: shared; docs\/trust\.md/,
    'with the reason, and what to do'
  )
  t.notMatch(io.out(), /"msg":"listening"/, 'no port was opened')
  const shared = serve(t, settings('shared'), enrollment)
  t.ok(await ready(await shared.port('ops')), 'with trust: shared it signs pods')
})

t.test('one that comes later is told by a metric, for the alert', async t => {
  const { here, settings, comes } = await certManager(t)
  const served = serve(t, settings('perCluster'), enrollment)
  const [port = 0, ops = 0] = await Promise.all(['enrollment', 'ops'].map(served.port))
  const problem = async () => metric((await get(ops, '/metrics')).text)
  t.match(await get(ops, '/readyz'), { status: 503, json: { checks: { authority: /not there/ } } })
  t.equal(await problem(), '0', 'while the CA is not known, nothing is said of it')

  comes(0)
  t.match((await ready(ops)).json, { checks: { authority: 'ok' } }, 'it is there')
  t.equal(await problem(), '1', 'and signs no CAs')
  const pods = servedPods(here, port)
  const reply = await eventually('the head is known', async () => {
    const found = await pods.ask('demo')
    return found.json.code !== 'HeadNotKnown' && found
  })
  t.match(reply, { status: 503, json: { code: 'AuthorityUnavailable' } }, 'so pods have to wait')
})

t.test('of a CA with room for them there is nothing to tell', async t => {
  const { settings, comes } = await certManager(t)
  comes(1)
  const ops = await serve(t, settings('perCluster'), enrollment).port('ops')
  await ready(ops)
  t.equal(metric((await get(ops, '/metrics')).text), '0')
})

const enrollment = ['--components', 'enrollment']

function metric(text: string): string | undefined {
  return /^rayguard_cluster_ca_problem (\d)$/m.exec(text)?.[1]
}

/** A cluster with cert-manager, whose issuer comes when it is told to. */
async function certManager(t: Test) {
  const here = await place(t)
  const workshop = openWorkshop(t)
  const authority = { kind: 'cert-manager', issuer: { name: 'ray-pods' } }
  return {
    here,
    settings: (trust: 'perCluster' | 'shared') => here.settings({ trust, authority }),
    comes(pathLength: number) {
      const [, ...others] = caExtensions
      const constraints = `basicConstraints=critical,CA:TRUE,pathlen:${pathLength}`
      makeCa(workshop, 'ca', { extensions: [constraints, ...others] })
      playSigner(here.standIn, workshop, 'CertificateRequest', 100 * 24 * 3600)
      here.standIn.interfere(({ path }) => kindsOfCertManager(path))
    }
  }
}
