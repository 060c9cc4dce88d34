/**
 * What the webhook would do to the pods of a text: the same code, without a cluster.
 *
 * Decides nothing itself and has no way to a signer or to the Kubernetes API.
 */
import { type Admission, admit } from '../admission/admit.ts'
import type { RequestedModes } from '../admission/modes.ts'
import type { AdmissionReview } from '../admission/review.ts'
import type { Operation } from '../injection/edits.ts'
import type { InjectionSettings } from '../injection/settings.ts'
import type { RayKind } from '../ray/classify.ts'
import { type CertificatePreview, certificateOf } from './certificate.ts'
import { type DocumentProblem, readDocuments } from './documents.ts'
import { type Source, sourcesOf } from './sources.ts'

export interface DryRunOptions extends RequestedModes {
  settings: InjectionSettings
  clusterDomain: string
}

export interface DryRunResult {
  source: string
  kind: string
  node: RayKind
  allowed: boolean
  message?: string
  /** RFC 6902; empty where nothing is changed and where the pod is refused. */
  patch: Operation[]
  /** As it would be stored; absent where it is refused. */
  pod?: unknown
  warnings: string[]
  certificate?: CertificatePreview
}

export interface DryRun {
  results: DryRunResult[]
  /** True where a pod is refused or violates Pod Security `restricted`, whatever the mode makes of it. */
  failed: boolean
}

export function dryRun(
  text: string,
  options: DryRunOptions
): DryRun | { problem: DocumentProblem } {
  const read = readDocuments(text)
  if ('problem' in read) return read
  const run: DryRun = { results: [], failed: false }
  for (const document of read.documents) {
    const found = sourcesOf(document)
    if ('problem' in found) {
      return { problem: { document: document.number, ...document.place, message: found.problem } }
    }
    for (const source of found.sources) tryOne(run, source, options)
  }
  return run
}

function tryOne(run: DryRun, { name, review }: Source, options: DryRunOptions): void {
  const admission = admit(review, options, options.settings)
  run.results.push(resultOf(name, review, admission, options))
  run.failed ||=
    !admission.outcome.allowed ||
    admission.outcome.findings.some(({ kind }) => kind === 'violation')
}

function resultOf(
  source: string,
  review: AdmissionReview,
  { answer, outcome, injection }: Admission,
  options: DryRunOptions
): DryRunResult {
  const { response } = answer
  const pod = podAfter(review, injection)
  const certificate = injection?.allowed
    ? certificateOf(injection.pod, {
        namespace: outcome.namespace,
        clusterDomain: options.clusterDomain,
        keyAlgorithm: options.settings.keyAlgorithm
      })
    : undefined
  return {
    source,
    kind: review.request.kind.kind,
    node: outcome.kind,
    allowed: response.allowed,
    ...(response.status ? { message: response.status.message } : {}),
    patch: injection?.allowed ? injection.operations : [],
    ...(pod === undefined || pod === null ? {} : { pod }),
    warnings: response.warnings ?? [],
    ...(certificate ? { certificate } : {})
  }
}

function podAfter(review: AdmissionReview, injection: Admission['injection']): unknown {
  if (injection === undefined) return review.request.object
  return injection.allowed ? injection.pod : undefined
}
