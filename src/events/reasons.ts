/**
 * The Events that Rayguard writes. Their reasons are stable: people and alerts go by them.
 *
 * Pure. A note names objects and says what to do; it never quotes what a pod has sent.
 */

/** The object that an Event is shown at. */
export interface Regarding {
  apiVersion: string
  kind: 'RayCluster' | 'Pod'
  namespace: string
  name: string
  uid: string
}

export const eventReasons = [
  'CertificateRefused',
  'CertificateDelayed',
  'LifetimeLabel',
  'LeftWithoutTLS',
  'CertificateNearItsEnd',
  'PodReplaced',
  'ClientCertificateIssued'
] as const
export type EventReason = (typeof eventReasons)[number]

export interface Occurrence {
  regarding: Regarding
  related?: Regarding
  reason: EventReason
  type: 'Normal' | 'Warning'
  /** What was attempted. */
  action: 'Enroll' | 'Inject' | 'Watch' | 'Evict' | 'Sign'
  note: string
  /** What tells two occurrences of one reason at one object apart. */
  key?: string
  /** Not again after an hour. */
  once?: true
}

interface PodOf {
  pod: Regarding
  /** Absent while it is not known; the Event then stands at the pod. */
  cluster?: Regarding | undefined
}

/** The pod will never get a certificate as it is. */
export function certificateRefused(of: PodOf, code: string, text: string): Occurrence {
  return {
    ...shownAt(of),
    ...{ reason: 'CertificateRefused', type: 'Warning', action: 'Enroll', key: code },
    note: `Pod ${of.pod.name} was refused a certificate (${code}): ${text} The log of rayguard-enrollment has the reason.`
  }
}

/** The pod asks again and again. */
export function certificateDelayed(
  of: PodOf,
  { code, text, seconds }: { code: string; text: string; seconds: number }
): Occurrence {
  return {
    ...shownAt(of),
    ...{ reason: 'CertificateDelayed', type: 'Warning', action: 'Enroll', key: code },
    note: `Pod ${of.pod.name} has been waiting for its certificate for over ${seconds} s (${code}): ${text} It asks again by itself.`
  }
}

/** `text`: what is wrong with the label of the namespace. One a cluster, whichever of its pods asks. */
export function lifetimeLabel({ pod, cluster = pod }: PodOf, text: string): Occurrence {
  return {
    ...{ regarding: cluster, reason: 'LifetimeLabel', type: 'Warning', action: 'Enroll' },
    ...{ key: text, note: text }
  }
}

/** `LeftWithoutTLS`: one a cluster, whichever of its pods shows it. */
export function leftWithoutTls(cluster: Regarding): Occurrence {
  return {
    ...{ regarding: cluster, reason: 'LeftWithoutTLS', type: 'Warning', action: 'Inject' },
    note:
      'The running pods of this RayCluster have no TLS, so a new pod gets none either: with it, it could not join them. ' +
      `Delete all pods of the cluster at once to bring it under TLS: kubectl -n ${cluster.namespace} delete pods -l ` +
      `ray.io/cluster=${cluster.name}`
  }
}

/** At the pod and, once for those that end within the same hour, at the cluster. `days` 0: it has ended. */
export function certificateNearItsEnd(
  { pod, cluster }: Required<PodOf>,
  { notAfter, days }: { notAfter: string; days: number }
): Occurrence[] {
  const ends =
    days === 0
      ? `ended at ${notAfter}`
      : `ends at ${notAfter}, in less than ${days} ${days === 1 ? 'day' : 'days'}`
  const what = {
    ...({ reason: 'CertificateNearItsEnd', type: 'Warning', action: 'Watch', once: true } as const),
    note:
      `The certificate of pod ${pod.name} ${ends}. Ray never reads it again: delete the pod in time, and KubeRay makes it ` +
      'anew with a new one.'
  }
  const hour = notAfter.slice(0, 13)
  return [
    { ...what, regarding: pod, key: `${days}/${notAfter}` },
    ...(cluster === undefined ? [] : [{ ...what, regarding: cluster, key: `${days}/${hour}` }])
  ]
}

/** Somebody outside the pods may connect now; `user` is what the API server calls them. */
export function clientCertificateIssued(
  cluster: Regarding,
  { user, serialNumber, notAfter }: { user: string; serialNumber: string; notAfter: Date }
): Occurrence {
  return {
    ...{ regarding: cluster, reason: 'ClientCertificateIssued', type: 'Normal', action: 'Sign' },
    key: serialNumber,
    note: `${user} got a client certificate (serial number ${serialNumber}) until ${notAfter.toISOString()}.`
  }
}

/** A pod may be gone when somebody looks; its RayCluster is what people know. */
function shownAt({ pod, cluster }: PodOf): { regarding: Regarding; related?: Regarding } {
  return cluster === undefined ? { regarding: pod } : { regarding: cluster, related: pod }
}

/** At the cluster, for the pod itself will be gone. */
export function podReplaced(
  { pod, cluster }: { pod: Regarding; cluster: Regarding },
  notAfter: string
): Occurrence {
  return {
    ...{ regarding: cluster, related: pod, reason: 'PodReplaced', type: 'Normal', action: 'Evict' },
    note: `Pod ${pod.name} was evicted, for its certificate ends at ${notAfter}. KubeRay makes it anew with a new one.`
  }
}
