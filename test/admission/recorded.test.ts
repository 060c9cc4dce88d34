import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { admit } from '../../src/admission/admit.ts'
import { type AdmissionReview, decodeReview } from '../../src/admission/review.ts'
import { inject } from '../../src/injection/inject.ts'
import type { Container, Pod } from '../../src/kubernetes/objects.ts'
import { applied, defaulted } from '../support/api-server.ts'
import { injectionRequest, injectionSettings } from '../support/builders.ts'

/** What a real API server asked about pods that a real KubeRay made. */
const directory = new URL('../fixtures/recorded/', import.meta.url)

function recorded(file: string): AdmissionReview {
  const decoded = decodeReview(JSON.parse(readFileSync(new URL(file, directory), 'utf8')))
  if ('problem' in decoded) throw new Error(`${file}: ${decoded.problem}`)
  return decoded.review
}

const creations = readdirSync(directory).filter(
  file => file.endsWith('.json') && recorded(file).request.operation === 'CREATE'
)

t.test('every recorded creation is admitted, complies, and is done in one pass', async t => {
  t.ok(creations.length >= 12, 'the recordings are there')
  for (const file of creations) {
    const review = recorded(file)
    const { outcome, injection } = admit(review, { podSecurity: 'enforce' }, injectionSettings())
    const kind = /^(head|worker|submitter|redis-cleanup)/.exec(file)?.[0] ?? ''
    t.match(outcome, { allowed: true, kind, findings: [] }, `${file} is a ${kind} and complies`)
    if (!injection?.allowed) continue
    const before = review.request.object as Pod
    const after = applied(before, injection.operations)
    t.strictSame(after, JSON.parse(JSON.stringify(injection.pod)), `${file}: the patch makes it`)
    const enrolled = after.spec.initContainers?.[0]?.name === 'rayguard-enroll'
    t.equal(enrolled, kind === 'head' || kind === 'worker', `${file}: who enrolls`)
    for (const again of [after, defaulted(after)]) {
      const second = admit(
        { ...review, request: { ...review.request, object: again } },
        { podSecurity: 'enforce' },
        injectionSettings()
      )
      t.strictSame(second.outcome.operations, 0, `${file}: nothing to do a second time`)
      t.notOk(second.answer.response.patch, `${file}: and no patch`)
    }
  }
})

t.test('a pod of ours as the API server keeps it needs nothing more', async t => {
  const pod = recorded('ephemeral-container.json').request.oldObject as Pod
  const ours = pod.spec.initContainers?.[0] as Container
  const value = (name: string) => ours.env?.find(variable => variable.name === name)?.value ?? ''
  const settings = injectionSettings({
    image: ours.image ?? '',
    serverUrl: value('RAYGUARD_SERVER_URL'),
    serverCa: value('RAYGUARD_SERVER_CA'),
    resources: {
      cpu: ours.resources?.limits?.cpu ?? '',
      memory: ours.resources?.limits?.memory ?? ''
    }
  })
  const seen = inject(pod, injectionRequest(), settings)
  t.match(seen, { allowed: true, kind: 'worker', operations: [] }, 'no operation')
})

t.test('the recorded debugger is tightened, and only it', async t => {
  const { answer, outcome } = admit(recorded('ephemeral-container.json'), {}, injectionSettings())
  t.equal(outcome.kind, 'worker', 'in a worker')
  const patch = Buffer.from(answer.response.patch ?? 'W10=', 'base64').toString('utf8')
  const operations = JSON.parse(patch) as { path: string }[]
  t.ok(operations.length > 0, 'something is set')
  t.ok(
    operations.every(({ path }) => path.startsWith('/spec/ephemeralContainers/0/')),
    'on the ephemeral container alone'
  )
})
