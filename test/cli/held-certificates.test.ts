/** What is told of running pods to those who decide on which CA a RayCluster is. */
import t from 'tap'
import type { AuthorityDescription } from '../../src/authority/authority.ts'
import {
  anyForeign,
  clusterPods,
  sharedAnchors
} from '../../src/cli/components/held-certificates.ts'
import type { AgentWords, LivePod } from '../../src/live/pod.ts'

const ends = new Date(0)
const shared = { subject: 'CN=shared', anchorSha256: '0a', anchorKeySha256: 'aa', notAfter: ends }
const former = { subject: 'CN=former', anchorSha256: '0b', anchorKeySha256: 'bb', notAfter: ends }
const known: AuthorityDescription = { kind: 'pem', ...shared, alsoTrusted: [former] }
const away: AuthorityDescription = { ...known, anchorSha256: '', anchorKeySha256: '' }
const by = (description: AuthorityDescription) => sharedAnchors({ describe: () => description })

const well = (anchorSha256: string, anchorKeySha256?: string): AgentWords => ({
  ...{ ended: 'well', serialNumber: '0b', notAfter: ends.toISOString(), anchorSha256 },
  ...(anchorKeySha256 !== undefined && { anchorKeySha256 })
})
const badly: AgentWords = { ended: 'badly', code: 'Denied', message: '' }

function pod(agent: AgentWords | undefined, changes: Partial<LivePod> = {}): LivePod {
  return {
    ...{ uid: 'a3f1', namespace: 'team', name: 'head', node: 'head', tls: 'rayguard' },
    ...{
      cluster: { apiVersion: 'ray.io/v1', name: 'demo', uid: 'b7' },
      live: true,
      enrolling: false,
      ready: true,
      createdAt: 7
    },
    ...(agent && { agent }),
    ...changes
  }
}

t.test('of which CA a certificate is, as its agent has said', async t => {
  for (const [what, agent, certificate, whileAway = certificate] of [
    ['nothing yet', undefined, 'unknown'],
    ['that it gave up', badly, 'none'],
    ['the one that signs', well('0a', 'aa'), 'held', 'unjudged'],
    ['the one that signs, after a renewal', well('0c', 'aa'), 'held', 'unjudged'],
    ['the former one, without its key', well('0b'), 'held', 'unjudged'],
    ['another', well('0d', 'dd'), 'foreign', 'unjudged'],
    ['another, without its key', well('0d'), 'foreign', 'unjudged'],
    ['nothing of a CA, as agents did once', well(''), 'held']
  ] as const) {
    const said = agent?.ended === 'well' ? agent.anchorKeySha256 : undefined
    const told = { node: 'head', createdAt: 7, ...(said && { anchorKeySha256: said }) }
    t.strictSame(clusterPods([pod(agent)], by(known)), [{ ...told, certificate }], what)
    const judged = [{ ...told, certificate: whileAway }]
    t.strictSame(clusterPods([pod(agent)], by(away)), judged, `${what}, while the CA is away`)
  }
  t.strictSame(clusterPods([pod(well('0a'), { tls: 'other' })], by(known)), [], 'TLS of others')
})

t.test('whether any pod is of another CA', async t => {
  const foreign = pod(well('0d', 'dd'))
  t.equal(anyForeign([], by(known)), false)
  t.equal(anyForeign([pod(undefined), pod(well('0a')), pod(badly)], by(known)), false)
  t.equal(anyForeign([pod(well('0a')), foreign], by(known)), true)
  t.equal(anyForeign([{ ...foreign, live: false }], by(known)), false, 'none that has ended')
  t.equal(anyForeign([pod(well('')), foreign], by(away)), undefined, 'nobody can tell')
})
