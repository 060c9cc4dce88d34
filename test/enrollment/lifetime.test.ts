import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { chosenLifetime, type Lifetimes } from '../../src/cli/components/lifetime.ts'
import { startStage } from '../support/enrollment-stage.ts'
import { namespace, rayCluster, rayPod } from '../support/ray-objects.ts'

const hour = 3_600
const day = 24 * hour
const label = 'rayguard.dev/certificate-lifetime'
const lifetimes: Lifetimes = {
  lifetimeSeconds: 10 * day,
  namespaceLifetime: { shortestSeconds: day, longestSeconds: 20 * day }
}

t.test('a label is taken as it is, brought to a bound, or makes no sense', t => {
  const chosen = (text?: string) => chosenLifetime(text, lifetimes)
  t.strictSame(chosen(), { seconds: 10 * day }, 'without a label: the setting')
  t.strictSame(chosen('15d'), { seconds: 15 * day })
  t.strictSame(chosen('240h'), { seconds: 10 * day })
  t.strictSame(chosen('1d'), { seconds: day }, 'the bounds themselves')
  t.strictSame(chosen('20d'), { seconds: 20 * day })
  t.match(chosen('365d'), { seconds: 20 * day, notice: /=365d; .*1d to 20d.* live for 20d/ })
  t.match(chosen('1h'), { seconds: day, notice: /=1h; .* live for 1d/ })
  t.match(chosen('0s'), { seconds: day, notice: String })
  t.match(chosen('999999999d'), { seconds: 20 * day, notice: String })
  for (const text of ['', '30', '30D', '3od', 'd30', '30d_', '-1d', '1.5d', '1h1d', 'forever'])
    t.match(chosen(text), { problem: /expected a duration like 30d/ }, JSON.stringify(text))
  t.end()
})

t.test('certificates live as the label of their namespace says', async t => {
  let now = 0
  const stage = await startStage({ lifetimes, labelClock: () => now })
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  let pods = 0
  /** A new pod under this label, some time later. */
  const enrolled = async (value?: string) => {
    now += 10_000
    const labels = value === undefined ? {} : { [label]: value }
    stage.standIn.put({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: namespace, labels }
    })
    pods += 1
    const name = `w${pods}`
    const pod = await stage.run(rayPod({ name, ips: [`127.0.1.${pods}`] }))
    const { status, body } = await stage.enroll(pod)
    const observed = stage.observed.at(-1)
    const days =
      body.certificate === undefined
        ? undefined
        : (Date.parse(new X509Certificate(String(body.certificate)).validTo) - Date.now()) /
          (day * 1000)
    return {
      ...{ status, code: observed?.code, days: days && Math.round(days), body },
      said: observed?.outcome.facts.lifetimeLabel
    }
  }
  t.match(await enrolled(), { status: 201, days: 10, said: undefined }, 'the setting')
  t.match(await enrolled('15d'), { status: 201, days: 15, said: undefined })
  t.match(await enrolled('365d'), { status: 201, days: 20, said: /365d/ }, 'bounded, and told')

  const waits = await enrolled('3od')
  t.match(waits, { status: 503, code: 'LifetimeLabel', days: undefined, said: /3od/ })
  t.notMatch(JSON.stringify(waits.body), '3od', 'the public text is the same for all')
  t.match(await enrolled('3d'), { status: 201, days: 3 }, 'once it is put right, pods go on')

  stage.standIn.interfere(({ path }) =>
    path === `/api/v1/namespaces/${namespace}` ? { status: 500 } : undefined
  )
  t.match(await enrolled('3d'), { status: 503, code: 'ApiUnavailable' }, 'an API that is away')
})

t.test('a burst of pods reads the label once', async t => {
  const stage = await startStage({ lifetimes, labelClock: () => 0 })
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const names = Array.from({ length: 20 }, (_, index) => `b${index + 1}`)
  const pods = await Promise.all(
    names.map((name, index) => stage.run(rayPod({ name, ips: [`127.0.2.${index + 1}`] })))
  )
  const replies = await Promise.all(pods.map(pod => stage.enroll(pod)))
  t.ok(replies.every(({ status }) => status === 201))
  const read = stage.standIn.requests.filter(each => each === `GET /api/v1/namespaces/${namespace}`)
  t.equal(read.length, 1)
})
