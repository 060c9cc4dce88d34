/**
 * What of a document can be tried: pods, lists of pods, and reviews as the API server sends them.
 */
import { type AdmissionReview, apiVersion, decodeReview } from '../admission/review.ts'
import type { Document } from './documents.ts'

export interface Source {
  /** For people: which document, which item. */
  name: string
  review: AdmissionReview
}

const rayKinds = ['RayCluster', 'RayJob', 'RayService', 'RayCronJob']

type Members = Record<string, unknown>

export function sourcesOf(document: Document): { sources: Source[] } | { problem: string } {
  const { value, number } = document
  if (!isObject(value)) return { problem: 'an object with apiVersion and kind was expected' }
  const name = `document ${number}`
  if (value.kind === 'AdmissionReview') {
    const decoded = decodeReview(value)
    return 'problem' in decoded
      ? { problem: decoded.problem }
      : { sources: [{ name, review: decoded.review }] }
  }
  if (value.kind === 'List' || value.kind === 'PodList') return itemsOf(value, name)
  const problem = podProblem(value)
  return problem === undefined ? { sources: [{ name, review: reviewOf(value) }] } : { problem }
}

/** The pods of a document alone, for what needs no review. */
export function podsOf({
  value,
  number
}: Document): { pods: { name: string; pod: unknown }[] } | { problem: string } {
  const found =
    isObject(value) && (value.kind === 'List' || value.kind === 'PodList')
      ? itemsOf(value, `document ${number}`)
      : podOf(value, `document ${number}`)
  if ('problem' in found) return found
  return { pods: found.sources.map(({ name, review }) => ({ name, pod: review.request.object })) }
}

function podOf(value: unknown, name: string): ReturnType<typeof sourcesOf> {
  if (!isObject(value)) return { problem: 'an object with apiVersion and kind was expected' }
  const { apiVersion, kind } = value
  if (kind === 'Pod' && apiVersion === 'v1') return { sources: [{ name, review: reviewOf(value) }] }
  const found = `found ${shown(apiVersion)} ${shown(kind)}`
  const advice = rayKinds.includes(kind as string)
    ? '; rayguard dry-run shows what becomes of it'
    : ''
  return { problem: `v1 Pod or List of Pods was expected, ${found}${advice}` }
}

function itemsOf(list: Members, name: string): ReturnType<typeof sourcesOf> {
  if (!Array.isArray(list.items)) return { problem: 'items must be a list' }
  const sources: Source[] = []
  for (const [index, item] of list.items.entries()) {
    // The items of a PodList carry neither kind nor apiVersion.
    const pod: unknown =
      list.kind === 'PodList' && isObject(item) ? { apiVersion: 'v1', kind: 'Pod', ...item } : item
    const problem = isObject(pod) ? podProblem(pod) : 'an object was expected'
    if (problem !== undefined) return { problem: `items[${index}]: ${problem}` }
    sources.push({ name: `${name}, item ${index + 1}`, review: reviewOf(pod as Members) })
  }
  return { sources }
}

function podProblem({ apiVersion, kind }: Members): string | undefined {
  if (kind === 'Pod' && apiVersion === 'v1') return undefined
  const found = `found ${shown(apiVersion)} ${shown(kind)}`
  if (rayKinds.includes(kind as string)) {
    return `${kind as string} is not read yet, only the pods that KubeRay makes of it; ${found}`
  }
  return `v1 Pod, List of pods or admission.k8s.io/v1 AdmissionReview was expected, ${found}`
}

/** As the API server would ask about the pod. */
function reviewOf(pod: Members): AdmissionReview {
  const { namespace } = isObject(pod.metadata) ? pod.metadata : {}
  return {
    apiVersion,
    kind: 'AdmissionReview',
    request: {
      uid: '00000000-0000-0000-0000-000000000000',
      kind: { group: '', version: 'v1', kind: 'Pod' },
      resource: { group: '', version: 'v1', resource: 'pods' },
      operation: 'CREATE',
      namespace: typeof namespace === 'string' && namespace !== '' ? namespace : 'default',
      dryRun: true,
      object: pod
    }
  }
}

function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 60)) : 'nothing'
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
