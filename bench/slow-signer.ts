/**
 * More enrollments than the CA can sign, 200 a second for ten seconds: do admissions go on meanwhile, is each pod told when
 * to come again, and has each its certificate in the end?
 *
 * Three back ends that are slow in different ways: a Vault far away, an HSM that works hard on this very machine, and a
 * signer of the cluster that takes its time. All RayClusters share the CA here, so that each certificate has to be signed
 * there. Server, pods, admissions, the stand-in for the Kubernetes API, which that signer is a part of, Vault and the HSM's
 * library are processes of their own and share the machine.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { certificatesPath } from '../src/contract/enrollment.ts'
import { p99, whileAdmitting } from './admitting.ts'
import { type BackEnd, openClusterSigner, openSoftHsm, openVault } from './back-ends.ts'
import { podAddress } from './burst-pods.ts'
import { figureOf, quantile, type Report } from './harness.ts'
import { cluster, runningWorker } from './pods.ts'
import type { Burst, BurstPod } from './processes/pods.ts'
import { type Remote, startProcess } from './processes.ts'
import { injectionSettings } from './settings.ts'
import { openStage, type ServeOptions, type Server } from './stage.ts'
import { residentMegabytes } from './usage.ts'

const perSecond = 200
const seconds = 10
const quietMs = 3000
/** Sixteen requests at one time: 80 a second at most. */
const vaultDelayMs = 200
/** After the approval. */
const signerDelayMs = 500

export async function run(report: Report): Promise<void> {
  const vault = await openVault()
  const slowVault = await vault.delayed(vaultDelayMs)
  const hsm = await openSoftHsm('RSA-4096', 3)
  const signer = await openClusterSigner(signerDelayMs)
  try {
    for (const together of [true, false]) {
      await measure(report, `Vault, ${vaultDelayMs} ms away`, slowVault, together)
      await measure(report, 'SoftHSM, RSA-4096', hsm, together)
      await measure(report, `a signer of the cluster, ${signerDelayMs} ms`, signer, together)
    }
  } finally {
    await signer.close()
    await hsm.close()
    await slowVault.close()
    await vault.close()
  }
}

async function measure(
  report: Report,
  backEndName: string,
  backEnd: BackEnd,
  together: boolean
): Promise<void> {
  const stage = await openStage()
  const client = startProcess('pods')
  const admissions = startProcess('admissions')
  try {
    const options: ServeOptions = { backEnd, trust: 'shared' }
    const enrollment = await stage.serve(
      together ? ['webhook', 'enrollment'] : ['enrollment'],
      options
    )
    const { enrollmentUrl } = enrollment
    const webhook = together ? enrollment : await stage.serve(['webhook'], { enrollmentUrl })
    await stage.put([cluster])
    const pods = await createPods(client, enrollment, stage.servingCa.certificate, stage.put)
    const admit = (work: () => Promise<unknown>) => whileAdmitting(stage, admissions, webhook, work)

    const quiet = await admit(() => sleep(quietMs))
    const before = await residentMegabytes(enrollment.pid)
    let burst: Burst | undefined
    const busy = await admit(async () => {
      const ca = stage.servingCa.certificate
      const url = `${enrollmentUrl}${certificatesPath}`
      burst = await client.call<Burst>('burst', { url, ca, pods, perSecond })
    })
    const after = await residentMegabytes(enrollment.pid)
    const name = `${backEndName}, ${together ? 'one process' : 'two processes'}`
    reportBurst(report, name, burst, { quiet, busy, before, after })
  } finally {
    await Promise.all([client.close(), admissions.close()])
    await stage.close()
  }
}

async function createPods(
  client: Remote,
  { enrollmentUrl }: Server,
  servingCa: string,
  put: (objects: ReturnType<typeof runningWorker>[]) => Promise<string[]>
): Promise<BurstPod[]> {
  const settings = injectionSettings({ url: enrollmentUrl, ca: servingCa })
  const addresses = Array.from({ length: perSecond * seconds }, (_, at) => podAddress(at))
  const tokens = await put(
    addresses.map((address, at) => runningWorker(`demo-small-worker-${at}`, address, settings))
  )
  await client.call('prepare', addresses)
  return addresses.map((address, at) => ({ address, token: tokens[at] ?? '' }))
}

interface Around {
  quiet: number[]
  busy: number[]
  before: number
  after: number
}

function reportBurst(
  report: Report,
  name: string,
  burst: Burst | undefined,
  { quiet, busy, before, after }: Around
): void {
  if (burst === undefined) throw new Error('the pods have not begun')
  const { waits, again, failed } = burst
  const figure = (what: string, unit: string, value: number, rest: object = {}) =>
    report(figureOf({ name: `${name}: ${what}`, unit, values: [value], ...rest }))
  figure('p99 of admissions (quiet)', 'ms', p99(busy), {
    baselines: [p99(quiet)],
    target: { of: 'value', atMost: 100 }
  })
  figure('offered', 'pods', waits.length)
  figure('all signed', 's', burst.seconds)
  figure('median pod', 's', quantile(waits, 0.5) / 1000)
  figure('told to come again', 'times', sum(again))
  figure('never signed', 'pods', sum(failed), { target: { of: 'value', atMost: 0 } })
  figure('resident after it (before)', 'MiB', after, { baselines: [before] })
  if (sum(again) + sum(failed) > 0) {
    process.stderr.write(`${name}: ${JSON.stringify({ again, failed })}\n`)
  }
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0)
}
