/**
 * What the first certificate of a RayCluster costs, when its CA is made, signed by each back end and written down, beside a
 * later one: the whole request over HTTPS, one after the other.
 *
 * With Vault the key of that CA is sealed there as well.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { certificatesPath } from '../src/contract/enrollment.ts'
import { type BackEnd, openFiles, openSoftHsm, openVault } from './back-ends.ts'
import { podAddress } from './burst-pods.ts'
import { figureOf, type Report } from './harness.ts'
import { clusterWithHead, inOtherCluster, runningWorker } from './pods.ts'
import type { Burst, BurstPod } from './processes/pods.ts'
import { type Remote, startProcess } from './processes.ts'
import { injectionSettings } from './settings.ts'
import { openStage, type Server, type Stage } from './stage.ts'

const clusters = 30
/** Compiled code, filled caches. */
const warmUp = 3

const backEnds: Record<string, () => Promise<BackEnd>> = {
  'CA in files': () => openFiles('P-256'),
  SoftHSM: () => openSoftHsm('P-256', 3),
  Vault: openVault
}

export async function run(report: Report): Promise<void> {
  for (const [name, open] of Object.entries(backEnds)) {
    const backEnd = await open()
    try {
      await measure(report, name, backEnd)
    } finally {
      await backEnd.close()
    }
  }
}

async function measure(report: Report, name: string, backEnd: BackEnd): Promise<void> {
  const stage = await openStage()
  const client = startProcess('pods')
  try {
    const server = await stage.serve(['enrollment'], { backEnd })
    const firsts: number[] = []
    const laters: number[] = []
    for (let number = 0; number < warmUp + clusters; number += 1) {
      const [head, worker] = await newCluster(stage, client, server, number)
      // Until the watches of the server have seen them.
      await sleep(100)
      firsts.push(await waitOf(stage, client, server, head))
      laters.push(await waitOf(stage, client, server, worker))
    }
    report(
      figureOf({
        name: `${name}, first of a RayCluster (a later one)`,
        unit: 'ms',
        values: firsts.slice(warmUp),
        baselines: laters.slice(warmUp)
      })
    )
  } finally {
    await client.close()
    await stage.close()
  }
}

async function newCluster(
  stage: Stage,
  client: Remote,
  { enrollmentUrl }: Server,
  number: number
): Promise<[head: BurstPod, worker: BurstPod]> {
  const settings = injectionSettings({ url: enrollmentUrl, ca: stage.servingCa.certificate })
  const addresses: [string, string] = [podAddress(2 * number), podAddress(2 * number + 1)]
  const objects = [
    ...clusterWithHead(addresses[0], settings),
    runningWorker('demo-worker', addresses[1], settings)
  ]
  const [, , head = '', worker = ''] = await stage.put(inOtherCluster(objects, `ray-${number}`))
  await client.call('prepare', addresses)
  return [
    { address: addresses[0], token: head },
    { address: addresses[1], token: worker }
  ]
}

async function waitOf(
  stage: Stage,
  client: Remote,
  { enrollmentUrl, log }: Server,
  pod: BurstPod
): Promise<number> {
  const url = `${enrollmentUrl}${certificatesPath}`
  const ca = stage.servingCa.certificate
  const { waits, again, failed } = await client.call<Burst>('burst', { url, ca, pods: [pod] })
  const trouble = Object.keys({ ...again, ...failed })
  if (trouble.length > 0) throw new Error(`A pod was told ${trouble}.\n${log().slice(-2000)}`)
  return waits[0] ?? Number.NaN
}
