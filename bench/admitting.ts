/** An API server that asks for admissions at a steady pace while something else goes on. */
import { quantile } from './harness.ts'
import { admissionReview, largeHead, largeWorker } from './pods.ts'
import type { Remote } from './processes.ts'
import type { Server, Stage } from './stage.ts'

/** Ray clusters of a thousand pods are made at some tens of pods a second. */
export const admissionsPerSecond = 50

/** Milliseconds of each admission. */
export async function whileAdmitting(
  stage: Stage,
  admissions: Remote,
  { webhookUrl }: Server,
  work: () => Promise<unknown>
): Promise<number[]> {
  await admissions.call('start', {
    url: `${webhookUrl}/mutate`,
    ca: stage.servingCa.certificate,
    bodies: [largeHead(), largeWorker()].map(pod => JSON.stringify(admissionReview(pod))),
    perSecond: admissionsPerSecond
  })
  await work()
  return admissions.call<number[]>('stop')
}

export function p99(waits: number[]): number {
  return quantile(waits, 0.99)
}
