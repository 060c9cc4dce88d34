/**
 * What of a document can be tried: pods, what KubeRay would make of Ray resources, lists of both, and reviews as the API
 * server sends them.
 */
import { type AdmissionReview, apiVersion, decodeReview } from '../admission/review.ts'
import { quote } from '../injection/quote.ts'
import { isRayResource, podsOfResource, rayResources } from '../ray/resources.ts'
import type { Document } from './documents.ts'

export interface Source {
  /** For people: which document, which item. */
  name: string
  review: AdmissionReview
  /** The Services that lead to a head, where its Ray resource is known. */
  headServices?: string[]
}

type Members = Record<string, unknown>

/** `passedOver`: what Rayguard has nothing to do with. */
export function sourcesOf(
  document: Document
): { sources: Source[] } | { problem: string } | { passedOver: string } {
  const { value, number } = document
  if (!isObject(value)) return { problem: 'an object with apiVersion and kind was expected' }
  const name = `document ${number}`
  if (value.kind === 'AdmissionReview') {
    const decoded = decodeReview(value)
    return 'problem' in decoded
      ? { problem: decoded.problem }
      : { sources: [{ name, review: decoded.review }] }
  }
  if (isList(value)) return itemsOf(value, name, resourceOf)
  const other = otherKind(value)
  return other === undefined ? resourceOf(value, name) : { passedOver: other }
}

/** An object of another group; a kind of Ray's group that is not known is a typing error. */
function otherKind({ apiVersion, kind }: Members): string | undefined {
  if (typeof apiVersion !== 'string' || typeof kind !== 'string') return undefined
  if (kind === '' || apiVersion === '' || apiVersion.startsWith('ray.io/')) return undefined
  const ours = kind === 'Pod' || (rayResources as readonly string[]).includes(kind)
  return ours ? undefined : `${shown(apiVersion)} ${shown(kind)}`
}

type Reader = (value: unknown, name: string) => { sources: Source[] } | { problem: string }

/** A pod, or the pods of a Ray resource. */
function resourceOf(value: unknown, name: string): ReturnType<Reader> {
  if (!isObject(value) || !isRayResource(value)) {
    return podOf(
      value,
      name,
      'v1 Pod, ray.io resource, List or admission.k8s.io/v1 AdmissionReview'
    )
  }
  const { kind } = value as { kind: string }
  const found = podsOfResource(value)
  if ('problem' in found) return { problem: `${kind}: ${found.problem}` }
  return {
    sources: found.pods.map(({ role, pod, headServices }) => ({
      name: `${name}, ${kind} ${plain(found.name)}, ${plain(role)}`,
      review: reviewOf(pod as unknown as Members),
      ...(headServices === undefined ? {} : { headServices })
    }))
  }
}

/** The pods of a document alone, for what needs no review. */
export function podsOf({
  value,
  number
}: Document): { pods: { name: string; pod: unknown }[] } | { problem: string } {
  const name = `document ${number}`
  const read: Reader = (item, at) => {
    const found = podOf(item, at, 'v1 Pod or List of Pods')
    const isRay = isObject(item) && (rayResources as readonly unknown[]).includes(item.kind)
    return 'problem' in found && isRay
      ? { problem: `${found.problem}; rayguard dry-run shows what becomes of it` }
      : found
  }
  const found = isObject(value) && isList(value) ? itemsOf(value, name, read) : read(value, name)
  if ('problem' in found) return found
  return { pods: found.sources.map(({ name, review }) => ({ name, pod: review.request.object })) }
}

function podOf(value: unknown, name: string, expected: string): ReturnType<Reader> {
  if (!isObject(value)) return { problem: 'an object with apiVersion and kind was expected' }
  const { apiVersion, kind } = value
  if (kind === 'Pod' && apiVersion === 'v1') return { sources: [{ name, review: reviewOf(value) }] }
  const found = `found ${shown(apiVersion)} ${shown(kind)}`
  return { problem: `${expected} was expected, ${found}` }
}

function isList({ kind }: Members): boolean {
  return (
    typeof kind === 'string' && /^(Pod|RayCluster|RayJob|RayService|RayCronJob)?List$/.test(kind)
  )
}

function itemsOf(list: Members, name: string, read: Reader): ReturnType<Reader> {
  if (!Array.isArray(list.items)) return { problem: 'items must be a list' }
  const sources: Source[] = []
  const kind = String(list.kind).slice(0, -'List'.length)
  for (const [index, item] of list.items.entries()) {
    // The items of a PodList carry neither kind nor apiVersion.
    const whole: unknown =
      kind !== '' && isObject(item) ? { apiVersion: list.apiVersion ?? 'v1', kind, ...item } : item
    const found = isObject(whole)
      ? read(whole, `${name}, item ${index + 1}`)
      : { problem: 'an object was expected' }
    if ('problem' in found) return { problem: `items[${index}]: ${found.problem}` }
    for (const source of found.sources) sources.push(source)
  }
  return { sources }
}

/** A name of somebody else's in a line of ours. */
function plain(name: string): string {
  return /^[\w.-]+(?: [\w.-]+)*$/.test(name) && name.length <= 253 ? name : quote(name)
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
  return typeof value === 'string' ? quote(value) : 'nothing'
}

function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
