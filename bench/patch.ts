/** Making a patch, against parsing the pod: the one thing that a webhook cannot avoid. */
import { inject } from '../src/injection/inject.ts'
import type { Pod } from '../src/kubernetes/objects.ts'
import { compare, microsecondsEach, type Report } from './harness.ts'
import { largeHead, largeWorker } from './pods.ts'
import { injectionSettings } from './settings.ts'

const count = 3000
const batchSize = 20

export async function run(report: Report): Promise<void> {
  for (const [node, pod] of [
    ['head', largeHead()],
    ['worker', largeWorker()]
  ] as const) {
    const text = JSON.stringify(pod)
    const request = { namespace: 'team-a', podSecurity: 'warn', tls: 'tls' } as const
    const settings = injectionSettings()
    const patch = () => {
      let microseconds = 0
      for (let batch = 0; batch < count / batchSize; batch += 1) {
        // Each is parsed afresh, as in a server: objects that have been seen before would be faster. A few at a time, as in
        // a server: thousands that live at once would measure the garbage collector.
        const pods = Array.from({ length: batchSize }, () => JSON.parse(text) as Pod)
        microseconds += microsecondsEach(batchSize, at =>
          inject(pods[at] as Pod, request, settings)
        )
      }
      return microseconds / (count / batchSize)
    }
    report(
      await compare({
        name: `patch of a ${kilobytes(text)} KB ${node} (JSON.parse of it)`,
        unit: 'µs',
        rounds: 9,
        subject: patch,
        baseline: () => microsecondsEach(count, () => JSON.parse(text)),
        target: { of: 'value', atMost: 50 }
      })
    )
  }
}

function kilobytes(text: string): string {
  return (text.length / 1000).toFixed(1)
}
