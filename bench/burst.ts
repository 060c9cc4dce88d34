/**
 * A thousand pods at once, as when a large RayCluster starts: are all served, how soon, and do admissions go on meanwhile?
 *
 * Server, pods, the API server's admissions and the stand-in for the Kubernetes API are processes of their own and share
 * the machine: on two cores the server has about a third of it. The baseline is a `node:https` that makes one signature,
 * under the same burst.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { certificatesPath } from '../src/contract/enrollment.ts'
import { p99, whileAdmitting } from './admitting.ts'
import { podAddress } from './burst-pods.ts'
import { figureOf, quantile, type Report } from './harness.ts'
import { startIssuing } from './issuing.ts'
import { clusterWithHead, runningWorker } from './pods.ts'
import type { Burst, BurstPod } from './processes/pods.ts'
import { type Remote, startProcess } from './processes.ts'
import { injectionSettings } from './settings.ts'
import { openStage, type Server, type Stage } from './stage.ts'
import { processorMs } from './usage.ts'

const podCount = 1000
const rounds = 3
const quietMs = 2000

export async function run(report: Report): Promise<void> {
  await measure(report, 'two processes', async stage => {
    const enrollment = await stage.serve(['enrollment'])
    const webhook = await stage.serve(['webhook'], { enrollmentUrl: enrollment.enrollmentUrl })
    return { webhook, enrollment }
  })
  await measure(report, 'one process', async stage => {
    const server = await stage.serve(['webhook', 'enrollment'])
    return { webhook: server, enrollment: server }
  })
}

interface Servers {
  webhook: Server
  enrollment: Server
}

interface Round {
  subject: TimedBurst
  baseline: TimedBurst
  /** Milliseconds of the 99th admission of a hundred. */
  quiet: number
  busy: number
}

type TimedBurst = Burst & { processorMsEach: number }

async function measure(
  report: Report,
  form: string,
  serve: (stage: Stage) => Promise<Servers>
): Promise<void> {
  const stage = await openStage()
  const bare = await startIssuing(stage.servingCa, { bare: true, serving: stage.serving })
  const client = startProcess('pods')
  const admissions = startProcess('admissions')
  try {
    const { webhook, enrollment } = await serve(stage)
    await makeClusterCa(stage, client, enrollment)
    const done: Round[] = []
    for (let round = 0; round < rounds; round += 1) {
      const pods = await createPods(stage, client, enrollment, round)
      const admit = (work: () => Promise<unknown>) =>
        whileAdmitting(stage, admissions, webhook, work)
      const at = (url: string, pid: number) => burst(stage, client, { url, pid }, pods)

      const baseline = await at(bare.url, bare.pid)
      const quiet = await admit(() => sleep(quietMs))
      let subject = baseline
      const busy = await admit(async () => {
        subject = await at(`${enrollment.enrollmentUrl}${certificatesPath}`, enrollment.pid)
      })
      done.push({ subject, baseline, quiet: p99(quiet), busy: p99(busy) })
    }
    reportRounds(report, form, done)
  } finally {
    await Promise.all([client.close(), admissions.close(), bare.close()])
    await stage.close()
  }
}

function reportRounds(report: Report, form: string, done: Round[]): void {
  const bursts = (of: (burst: TimedBurst) => number) => ({
    values: done.map(({ subject }) => of(subject)),
    baselines: done.map(({ baseline }) => of(baseline))
  })
  const figure = (what: string) => `${podCount} pods, ${form}: ${what}`
  report(figureOf({ name: figure('all served'), unit: 's', ...bursts(({ seconds }) => seconds) }))
  report(
    figureOf({
      name: figure('median pod'),
      unit: 's',
      ...bursts(({ waits }) => quantile(waits, 0.5) / 1000)
    })
  )
  report(
    figureOf({
      name: figure('processor each'),
      unit: 'ms',
      ...bursts(({ processorMsEach }) => processorMsEach)
    })
  )
  report(
    figureOf({
      name: figure('tried again'),
      unit: 'times',
      values: done.map(({ subject }) => sum(subject.again))
    })
  )
  report(
    figureOf({
      name: figure('never served'),
      unit: 'pods',
      values: [Math.max(...done.map(({ subject }) => sum(subject.failed)))],
      target: { of: 'value', atMost: 0 }
    })
  )
  report(
    figureOf({
      name: figure('p99 of admissions (quiet)'),
      unit: 'ms',
      values: done.map(({ busy }) => busy),
      baselines: done.map(({ quiet }) => quiet),
      target: { of: 'value', atMost: 100 }
    })
  )
  for (const { subject } of done) {
    if (sum(subject.again) + sum(subject.failed) === 0) continue
    const { again, failed } = subject
    process.stderr.write(`${figure('')} ${JSON.stringify({ again, failed })}\n`)
  }
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0)
}

/** Its head has enrolled: each RayCluster gets a CA of its own, once. */
async function makeClusterCa(stage: Stage, client: Remote, enrollment: Server): Promise<void> {
  const { enrollmentUrl } = enrollment
  const { certificate: ca } = stage.servingCa
  const address = podAddress(rounds * podCount)
  const objects = clusterWithHead(address, injectionSettings({ url: enrollmentUrl, ca }))
  const token = (await stage.put(objects)).at(-1) ?? ''
  await client.call('prepare', [address])
  const url = `${enrollmentUrl}${certificatesPath}`
  const { failed } = await client.call<Burst>('burst', { url, ca, pods: [{ address, token }] })
  if (sum(failed) > 0) throw new Error(`The head was told ${Object.keys(failed)}.`)
}

/** New pods in each round: a pod that has a certificate would not ask for another. */
async function createPods(
  stage: Stage,
  client: Remote,
  { enrollmentUrl }: Server,
  round: number
): Promise<BurstPod[]> {
  const settings = injectionSettings({ url: enrollmentUrl, ca: stage.servingCa.certificate })
  const addresses = Array.from({ length: podCount }, (_, at) => podAddress(round * podCount + at))
  const tokens = await stage.put(
    addresses.map((address, at) =>
      runningWorker(`demo-small-worker-${round}-${at}`, address, settings)
    )
  )
  await client.call('prepare', addresses)
  return addresses.map((address, at) => ({ address, token: tokens[at] ?? '' }))
}

async function burst(
  stage: Stage,
  client: Remote,
  server: { url: string; pid: number },
  pods: BurstPod[]
): Promise<TimedBurst> {
  const before = await processorMs(server.pid)
  const ca = stage.servingCa.certificate
  const result = await client.call<Burst>('burst', { url: server.url, ca, pods })
  const used = (await processorMs(server.pid)) - before
  return { ...result, processorMsEach: used / pods.length }
}
