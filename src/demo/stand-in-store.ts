import { randomUUID } from 'node:crypto'
import type { CertificateSigningRequest, KubernetesObject, Pod } from '../kubernetes/objects.ts'

/** What the stand-in serves. A version that is left out here is answered with 404, as by a cluster without it. */
export const resources: { kind: string; resource: string; versions: string[] }[] = [
  { kind: 'Pod', resource: 'pods', versions: ['v1'] },
  { kind: 'Service', resource: 'services', versions: ['v1'] },
  { kind: 'ConfigMap', resource: 'configmaps', versions: ['v1'] },
  { kind: 'Namespace', resource: 'namespaces', versions: ['v1'] },
  { kind: 'Node', resource: 'nodes', versions: ['v1'] },
  { kind: 'RayCluster', resource: 'rayclusters', versions: ['ray.io/v1', 'ray.io/v1alpha1'] },
  { kind: 'RayService', resource: 'rayservices', versions: ['ray.io/v1', 'ray.io/v1alpha1'] },
  { kind: 'RayJob', resource: 'rayjobs', versions: ['ray.io/v1', 'ray.io/v1alpha1'] },
  { kind: 'Secret', resource: 'secrets', versions: ['v1'] },
  { kind: 'Event', resource: 'events', versions: ['events.k8s.io/v1'] },
  { kind: 'Deployment', resource: 'deployments', versions: ['apps/v1'] },
  {
    kind: 'CertificateSigningRequest',
    resource: 'certificatesigningrequests',
    versions: ['certificates.k8s.io/v1']
  },
  { kind: 'CertificateRequest', resource: 'certificaterequests', versions: ['cert-manager.io/v1'] },
  ...['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration']
    .concat('ValidatingAdmissionPolicy', 'ValidatingAdmissionPolicyBinding')
    .map(kind => ({
      kind,
      resource: `${kind.toLowerCase().replace(/y$/, 'ie')}s`,
      versions: ['admissionregistration.k8s.io/v1']
    }))
]

export interface Target {
  kind: string
  apiVersion: string
  namespace: string | undefined
  name: string | undefined
}

export interface StoredEvent {
  type: 'ADDED' | 'MODIFIED' | 'DELETED'
  version: number
  before: KubernetesObject | undefined
  object: KubernetesObject
}

export interface Store {
  put<T extends KubernetesObject>(object: T): T
  remove(object: KubernetesObject): void
  get(target: Target): KubernetesObject | undefined
  list(target: Target, query: URLSearchParams): object | 'expired'
  /** Events after the version, oldest first; `expired` where they are forgotten. */
  since(version: number): StoredEvent[] | 'expired'
  readonly version: number
  /** Forgets all events so far, and all half-read lists, as etcd's compaction does. */
  compact(): void
  subscribe(listener: (event: StoredEvent) => void): () => void
}

export function createStore(clock: () => number): Store {
  const objects = new Map<string, KubernetesObject>()
  const events: StoredEvent[] = []
  const listeners = new Set<(event: StoredEvent) => void>()
  let version = 1000
  let oldest = version

  return {
    put<T extends KubernetesObject>(object: T): T {
      const stored = structuredClone(object)
      const before = objects.get(keyOf(stored))
      stored.metadata.uid ??= before?.metadata.uid ?? randomUUID()
      stored.metadata.creationTimestamp ??= new Date(clock()).toISOString()
      objects.set(keyOf(stored), stored)
      // Another UID under the same name: the former object is gone.
      if (before && before.metadata.uid !== stored.metadata.uid) note('DELETED', before, before)
      const replaced = before?.metadata.uid === stored.metadata.uid ? before : undefined
      note(replaced ? 'MODIFIED' : 'ADDED', stored, replaced)
      return structuredClone(stored)
    },
    remove(object) {
      const found = objects.get(keyOf(object))
      if (!found) return
      objects.delete(keyOf(object))
      note('DELETED', structuredClone(found), found)
    },
    get: ({ kind, namespace = '', name = '', apiVersion }) => {
      const found = objects.get(`${kind}/${namespace}/${name}`)
      return found && { ...found, apiVersion }
    },
    list(target, query) {
      const limit = Number(query.get('limit') ?? 0) || Number.POSITIVE_INFINITY
      const [listed = String(version), start = '0'] = (query.get('continue') ?? '').split(':')
      const at = query.has('continue') ? listed : String(version)
      if (Number(at) < oldest) return 'expired'
      const all = [...objects.values()].filter(object => matches(object, target, query))
      const from = Number(start)
      const more = from + limit < all.length ? { continue: `${at}:${from + limit}` } : {}
      return {
        apiVersion: target.apiVersion,
        kind: `${target.kind}List`,
        metadata: { resourceVersion: at, ...more },
        items: all.slice(from, from + limit)
      }
    },
    since: after => (after < oldest ? 'expired' : events.filter(event => event.version > after)),
    get version() {
      return version
    },
    compact() {
      version += 1
      oldest = version
      events.length = 0
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    }
  }

  function note(
    type: StoredEvent['type'],
    object: KubernetesObject,
    before: KubernetesObject | undefined
  ): void {
    version += 1
    object.metadata.resourceVersion = String(version)
    const event = { type, version, before, object: structuredClone(object) }
    events.push(event)
    for (const listener of listeners) listener(event)
  }
}

const fields: Record<string, (object: KubernetesObject) => string | undefined> = {
  'metadata.name': ({ metadata }) => metadata.name,
  'status.phase': object => (object as Pod).status?.phase,
  'spec.signerName': object => (object as CertificateSigningRequest).spec.signerName
}

/** Namespace, label selector (`key` and `key=value`), field selector (`=` and `!=` on {@link fields}). */
export function matches(object: KubernetesObject, target: Target, query: URLSearchParams): boolean {
  if (object.kind !== target.kind) return false
  if (target.namespace !== undefined && object.metadata.namespace !== target.namespace) return false
  const labels = new Map(Object.entries(object.metadata.labels ?? {}))
  for (const term of (query.get('labelSelector') ?? '').split(',').filter(each => each !== '')) {
    const [key = '', value] = term.split('=')
    if (!labels.has(key) || (value !== undefined && labels.get(key) !== value)) return false
  }
  return (query.get('fieldSelector') ?? '')
    .split(',')
    .filter(term => term !== '')
    .every(term => {
      const [, field, operator, wanted] = /^([a-z.]+)(!=|=)(.*)$/i.exec(term) ?? []
      const found = fields[field ?? '']?.(object)
      return (operator === '=') === ((found ?? '') === wanted)
    })
}

function keyOf({ kind = '', metadata: { namespace = '', name = '' } }: KubernetesObject): string {
  return `${kind}/${namespace}/${name}`
}
