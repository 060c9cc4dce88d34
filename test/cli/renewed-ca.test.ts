/**
 * The CA that all pods share is made anew while a Ray cluster runs, and what was written down before is lost: whether the next
 * enrollment server takes the pods that run as those of its CA.
 */
import { X509Certificate } from 'node:crypto'
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { checkPair } from '../../src/agent/certificates.ts'
import { entrySecrets, recordSecret } from '../../src/authority/per-cluster/entries.ts'
import { recordIn } from '../../src/authority/per-cluster/record.ts'
import type { CertificateResponse, TerminationMessage } from '../../src/contract/enrollment.ts'
import { enrollContainer } from '../../src/contract/pod.ts'
import type { Pod, Secret } from '../../src/kubernetes/objects.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { eventually } from '../support/cluster.ts'
import { openssl } from '../support/cluster-certificates.ts'
import { newKey } from '../support/hand-made-certificates.ts'
import { kindsOfCertManager, playSigner } from '../support/played-signer.ts'
import { rayCluster, rayPod, serviceOf } from '../support/ray-objects.ts'
import { get, place, post, ready, serve } from '../support/served.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

t.test('renewed with its key it is their CA', async t => {
  const { begin, makeCa, anchor } = await running(t)
  makeCa()
  const { enroll, counts, settled } = await begin()
  t.match(await counts(), { signing: 2, other: 0, lacking: 0 }, 'the same to those that run')
  const { anchorSha256, trustedSha256 } = await enroll('new')
  t.strictSame([anchorSha256], trustedSha256, 'a new pod comes to them')
  t.equal(anchorSha256, anchor(), 'and is told of the new certificate alone')
  t.ok(settled(), 'no pod is of another CA')
})

t.test('what agents from before said names the certificate alone', async t => {
  const { anchor, begin, former, makeCa, pods, say } = await running(t)
  const { anchorKeySha256, trustedKeySha256, ...less } = pods.get('head') as TerminationMessage
  say('head', less)
  const same = await begin()
  t.match(await same.counts(), { signing: 2, other: 0, lacking: 0 }, 'which is the one that signs')
  t.ok(same.settled(), 'so no pod is of another')
  await same.stop()
  makeCa()
  const renewed = await begin()
  t.match(await renewed.counts(), { signing: 1, other: 1 }, 'and is not after a renewal')
  t.notOk(renewed.settled(), 'for all that anybody can tell')
  await renewed.stop()
  const known = await begin({ enrollment: { alsoTrustedFile: former() } })
  t.match(await known.counts(), { other: 0, lacking: 0 }, 'unless it is named')
  const { trustedSha256 } = await known.enroll('new')
  t.strictSame(trustedSha256, [anchor()], 'of which no pod has to be told')
})

t.test('under another key of the same name it is another', async t => {
  const { begin, makeCa } = await running(t)
  makeCa({ key: 'new' })
  const { enroll, counts, settled } = await begin()
  t.match(await counts(), { signing: 0, other: 2 })
  t.notOk(settled(), 'which is remembered')
  await t.rejects(enroll('new'), /503 AuthorityUnavailable/, 'and no pod is put beside them')
})

t.test('attack 52: while it is away, pods of another CA do not pass for its own', async t => {
  const { standIn, begin } = await running(t)
  const workshop = openWorkshop(t)
  makeCa(workshop, 'ca')
  const authority = { kind: 'cert-manager', issuer: { name: 'ray-pods' } }
  const { enroll, settled, check } = await begin({ authority, wait: false })
  t.match(await check('trust'), /not known/, 'which CA it is has to be known first')
  t.equal(settled(), undefined, 'until then nothing is written down')
  await t.rejects(enroll('new'), /503/, 'and nobody gets a certificate')

  // It comes back, and is not the one that has signed the pods.
  playSigner(standIn, workshop, 'CertificateRequest', 48 * 3600)
  standIn.interfere(({ path }) => kindsOfCertManager(path))
  await eventually('the CA is known', async () => (await check('trust')) === 'ok')
  t.equal(settled(), false, 'pods of another CA run')
  await t.rejects(enroll('new'), /503 AuthorityUnavailable/, 'and none is put beside them')
})

/** A head and a worker that have certificates, and say so in the words of their agent; no server. */
async function running(t: Test) {
  const { standIn, settings, file } = await place(t)
  const cluster = standIn.put(
    rayCluster('demo', { head: { podName: 'head', serviceName: 'demo-head-svc' } })
  )
  standIn.put(serviceOf(cluster, 'demo-head-svc'))
  const pods = new Map<string, Partial<TerminationMessage>>()
  const podOf = (name: string, place: number) => {
    const node = name === 'head' ? 'head' : 'worker'
    return rayPod({ name, cluster, node, ips: [`127.0.5.${place}`] })
  }
  const say = (name: string, words: Partial<TerminationMessage>) => {
    const pod = podOf(name, [...pods.keys(), name].indexOf(name) + 1)
    pods.set(name, words)
    const terminated = { exitCode: 0, message: JSON.stringify(words) }
    const initContainerStatuses = [{ name: enrollContainer, state: { terminated } }]
    standIn.put({ ...pod, status: { ...pod.status, initContainerStatuses } } as Pod)
  }
  const { enroll, stop } = await begin()
  await enroll('head')
  await enroll('worker')
  await stop()
  return { standIn, begin, pods, say, makeCa: makeAnew, anchor, former: () => file('former.crt') }

  /** A server that finds none of the Secrets of former ones. */
  async function begin({
    wait = true,
    ...changes
  }: {
    wait?: boolean
    authority?: object
    enrollment?: object
  } = {}) {
    const secret = (name: string) => ({
      ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace: 'rayguard-system' } }
    })
    for (const name of [recordSecret, ...entrySecrets]) standIn.remove(secret(name))
    const { port, stop } = serve(t, settings({ trust: 'shared', ...changes }), [
      '--components',
      'enrollment'
    ])
    const [enrollment = 0, ops = 0] = await Promise.all(['enrollment', 'ops'].map(port))
    if (wait) await ready(ops)
    return {
      stop,
      /** Answers the agent's words. Rejects with status and code of the refusal. */
      async enroll(name: string) {
        const pod = standIn.put(podOf(name, pods.size + 1))
        const [podIP = ''] = pod.status?.podIPs?.map(({ ip }) => ip) ?? []
        const privateKey = newKey()
        const { status, json } = await post(
          enrollment,
          '/v1/certificates',
          { csr: createCertificateRequest(privateKey), podIPs: [podIP] },
          { localAddress: podIP, headers: { authorization: `Bearer ${standIn.issueToken(pod)}` } }
        )
        if (status !== 201) throw new Error(`${status} ${json.code}`)
        const { certificate, trustAnchors } = json as unknown as CertificateResponse
        const files = { certificate, trustAnchors, privateKey }
        const checked = checkPair({ ...files, podIPs: [podIP], now: Date.now() })
        if (!checked.usable) throw new Error(checked.detail)
        say(name, checked.pair.summary)
        return checked.pair.summary
      },
      async counts() {
        const { text } = await get(ops, '/metrics')
        const value = (series: string) =>
          Number(text.match(new RegExp(`^rayguard_${series} (\\d+)$`, 'm'))?.[1])
        return {
          signing: value('pods_by_anchor{anchor="signing"}'),
          other: value('pods_by_anchor{anchor="other"}'),
          lacking: value('pods_lacking_anchor')
        }
      },
      /** What `/readyz` says of it. */
      check: async (name: string) =>
        ((await get(ops, '/readyz')).json.checks as Record<string, string>)[name],
      /** Whether it has written down that no pod holds a certificate of another CA. */
      settled() {
        const { apiVersion, kind, metadata } = secret(recordSecret)
        const target = { apiVersion, kind, ...metadata }
        const found = standIn.store.get(target) as Secret | undefined
        return recordIn(found?.data ?? {})?.settled
      }
    }
  }

  /** The CA's certificate anew, under the same name. */
  function makeAnew({ key }: { key?: 'new' } = {}): void {
    copyFileSync(file('pods.crt'), file('former.crt'))
    if (key === 'new')
      writeFileSync(file('pods.key'), newKey().export({ type: 'pkcs8', format: 'pem' }))
    openssl(
      ...['req', '-x509', '-key', file('pods.key'), '-subj', '/CN=pods', '-days', '500'],
      ...['-out', file('pods.crt'), '-addext', 'basicConstraints=critical,CA:TRUE,pathlen:1'],
      ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign']
    )
  }

  function anchor(): string {
    const { fingerprint256 } = new X509Certificate(readFileSync(file('pods.crt')))
    return fingerprint256.replaceAll(':', '').toLowerCase()
  }
}
