/**
 * What the webhook would do to the pods of a text: the same code, without a cluster.
 *
 * Decides nothing itself and has no way to a signer or to the Kubernetes API.
 */
import { type Admission, admit } from '../admission/admit.ts'
import type { RequestedModes } from '../admission/modes.ts'
import type { AdmissionReview } from '../admission/review.ts'
import type { InjectionSettings } from '../injection/settings.ts'
import { refuseOddShape } from '../injection/shape.ts'
import type { Pod } from '../kubernetes/objects.ts'
import { withDefaults } from '../pod-security/defaults.ts'
import { evaluate } from '../pod-security/evaluate.ts'
import { certificateOf } from './certificate.ts'
import { type DocumentProblem, readDocuments } from './documents.ts'
import type { DryRunResult, PassedOver, PodSecurityReport, Violation } from './schemas.ts'
import { type Source, sourcesOf } from './sources.ts'

export interface DryRunOptions extends RequestedModes {
  settings: InjectionSettings
  clusterDomain: string
  /** For whom the answer must not grow without bound. */
  maximumPods?: number
}

export interface DryRun {
  results: DryRunResult[]
  /** The objects that were tried, in the order of the results. */
  submitted: unknown[]
  /** Documents of kinds that Rayguard has nothing to do with. */
  passedOver: PassedOver[]
  /** True where a pod is refused or violates Pod Security `restricted`, whatever the mode makes of it. */
  failed: boolean
}

export function dryRun(
  text: string,
  options: DryRunOptions
): DryRun | { problem: DocumentProblem } {
  const read = readDocuments(text)
  if ('problem' in read) return read
  const run: DryRun = { results: [], submitted: [], passedOver: [], failed: false }
  for (const document of read.documents) {
    const found = sourcesOf(document)
    const place = { document: document.number, ...document.place }
    if ('problem' in found) {
      return { problem: { code: 'Unsupported', ...place, message: found.problem } }
    }
    if ('passedOver' in found) {
      run.passedOver.push({ ...place, message: `${found.passedOver} is no concern of Rayguard’s` })
      continue
    }
    if (run.results.length + found.sources.length > (options.maximumPods ?? Infinity)) {
      const message = `expected at most ${options.maximumPods} pods in all, found more; send fewer at a time`
      return { problem: { code: 'TooManyPods', ...place, message } }
    }
    for (const source of found.sources) tryOne(run, source, options)
  }
  return run
}

function tryOne(run: DryRun, source: Source, options: DryRunOptions): void {
  const admission = admit(source.review, options, options.settings)
  run.results.push(resultOf(source, admission, options))
  run.submitted.push(source.review.request.object)
  run.failed ||=
    !admission.outcome.allowed ||
    admission.outcome.findings.some(({ kind }) => kind === 'violation')
}

function resultOf(
  { name: source, review, headServices }: Source,
  { answer, outcome, injection }: Admission,
  options: DryRunOptions
): DryRunResult {
  const { response } = answer
  const pod = podAfter(review, injection)
  const certificate = injection?.allowed
    ? certificateOf(injection.pod, {
        namespace: outcome.namespace,
        clusterDomain: options.clusterDomain,
        keyAlgorithm: options.settings.keyAlgorithm,
        ...(headServices === undefined ? {} : { headServices })
      })
    : undefined
  const podSecurity = injection && reportOf(review.request.object, injection)
  return {
    source,
    kind: review.request.kind.kind,
    node: outcome.kind,
    allowed: response.allowed,
    ...(response.status ? { message: response.status.message } : {}),
    patch: injection?.allowed ? injection.operations : [],
    ...(pod === undefined || pod === null ? {} : { pod }),
    warnings: response.warnings ?? [],
    ...(podSecurity ? { podSecurity } : {}),
    ...(certificate ? { certificate } : {})
  }
}

function podAfter(review: AdmissionReview, injection: Admission['injection']): unknown {
  if (injection === undefined) return review.request.object
  return injection.allowed ? injection.pod : undefined
}

function reportOf(
  submitted: unknown,
  injection: NonNullable<Admission['injection']>
): PodSecurityReport | undefined {
  if (refuseOddShape(submitted)) return undefined
  const before = judged(submitted as Pod)
  const after = injection.allowed ? { after: judged(injection.pod) } : {}
  return { level: 'restricted', version: 'latest', before, ...after }
}

function judged(pod: Pod): Violation[] {
  return evaluate(withDefaults(pod)).map(({ id, reason, detail }) => ({ id, reason, detail }))
}
