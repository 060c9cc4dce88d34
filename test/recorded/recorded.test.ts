/** What a real API server sent for pods of an unmodified KubeRay operator (recorded by test/api), through the webhook's code. */
import { readdirSync, readFileSync } from 'node:fs'
import jsonPatch, { type Operation } from 'fast-json-patch'
import t from 'tap'
import { admit } from '../../src/admission/admit.ts'
import { type AdmissionReview, decodeReview } from '../../src/admission/review.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { evaluate } from '../../src/pod-security/evaluate.ts'
import { injectionSettings } from '../support/builders.ts'

const folder = 'test/fixtures/recorded'
const files = readdirSync(folder).filter(name => name.endsWith('.json'))

t.test('every kind of pod is recorded', async t => {
  const kinds = [
    'head',
    'head-autoscaler',
    'worker',
    'worker-multi-host',
    'submitter',
    'redis-cleanup'
  ]
  for (const kind of kinds) t.ok(files.includes(`${kind}.json`), kind)
})

for (const file of files) {
  t.test(`the recorded review ${file} is answered with a pod that is restricted`, async t => {
    const review = read(file)
    const before = review.request.object as Pod
    const { answer, outcome } = admit(review, { podSecurity: 'enforce' }, injectionSettings())
    t.equal(answer.response.allowed, true, `it is allowed: ${outcome.reason ?? outcome.kind}`)
    t.equal(answer.response.uid, review.request.uid, 'the answer is for this request')

    const after = patched(before, answer.response.patch)
    t.strictSame(after.metadata.labels, before.metadata.labels, 'no label changes')
    t.strictSame(after.metadata.ownerReferences, before.metadata.ownerReferences, 'nor the owner')
    if (review.request.subResource === 'ephemeralcontainers') {
      t.match(
        after.spec.ephemeralContainers?.[0]?.securityContext,
        { allowPrivilegeEscalation: false },
        'the new container is restricted'
      )
      return
    }
    t.strictSame(evaluate(after), [], 'nothing stands against restricted any more')
    const enrolls = after.spec.initContainers?.[0]?.name === 'rayguard-enroll'
    t.equal(enrolls, /^(head|worker)/.test(file), 'heads and workers enroll, nothing else does')

    const again = admit(
      { ...review, request: { ...review.request, object: after } },
      { podSecurity: 'enforce' },
      injectionSettings()
    )
    t.equal(again.answer.response.allowed, true, 'a second pass is allowed')
    t.equal(again.answer.response.patch, undefined, 'and changes nothing')
  })
}

function read(file: string): AdmissionReview {
  const decoded = decodeReview(JSON.parse(readFileSync(`${folder}/${file}`, 'utf8')))
  if ('problem' in decoded) throw new Error(decoded.problem)
  return decoded.review
}

/** By a library of its own: what the API server will make of the patch. */
function patched(pod: Pod, patch: string | undefined): Pod {
  const operations: Operation[] =
    patch === undefined ? [] : JSON.parse(Buffer.from(patch, 'base64').toString())
  return jsonPatch.applyPatch(structuredClone(pod), operations, true, false).newDocument
}
