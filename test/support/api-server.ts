/**
 * What happens to a pod between two passes of the webhook, as far as it concerns us: the patch is applied by an independent
 * library, then the API server defaults the object, a LimitRange and the ServiceAccount plugin add their part.
 */
import jsonpatch, { type Operation as PatchOperation } from 'fast-json-patch'
import type { Operation } from '../../src/injection/edits.ts'
import type { Container, Pod } from '../../src/kubernetes/objects.ts'

export function applied(pod: Pod, operations: readonly Operation[]): Pod {
  // As text, because that is how a patch travels: the library would otherwise share values between operations.
  const copy = JSON.parse(JSON.stringify(operations)) as PatchOperation[]
  return jsonpatch.applyPatch(structuredClone(pod), copy, true, false).newDocument
}

export function defaulted(pod: Pod): Pod {
  const result = structuredClone(pod)
  const { spec } = result
  spec.securityContext ??= {}
  spec.serviceAccountName ??= 'default'
  spec.restartPolicy ??= 'Always'
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    container.terminationMessagePath ??= '/dev/termination-log'
    container.terminationMessagePolicy ??= 'File'
    container.imagePullPolicy ??= 'Always'
    container.resources = canonicalResources(container)
    for (const variable of container.env ?? []) {
      const field = variable.valueFrom?.fieldRef
      if (field) field.apiVersion ??= 'v1'
    }
    mountApiToken(container)
  }
  for (const volume of spec.volumes ?? []) {
    if (volume.projected) volume.projected.defaultMode ??= 0o644
    if (volume.secret) volume.secret.defaultMode ??= 0o644
  }
  spec.volumes = [
    ...(spec.volumes ?? []),
    {
      name: 'kube-api-access-x7k2p',
      projected: {
        defaultMode: 0o644,
        sources: [{ serviceAccountToken: { expirationSeconds: 3607, path: 'token' } }]
      }
    }
  ]
  return result
}

/** The LimitRange adds what is absent; quantities come back in canonical form. */
function canonicalResources({ resources }: Container): NonNullable<Container['resources']> {
  const canonical = (quantity: string | undefined) =>
    ({ '0.5': '500m', '1000m': '1', '1024Mi': '1Gi' })[quantity ?? ''] ?? quantity
  const filled = (of: Record<string, string> | null | undefined) => ({
    'ephemeral-storage': '1Gi',
    cpu: '100m',
    memory: '64Mi',
    ...Object.fromEntries(Object.entries(of ?? {}).map(([key, value]) => [key, canonical(value)]))
  })
  return {
    limits: filled(resources?.limits) as Record<string, string>,
    requests: filled(resources?.requests) as Record<string, string>
  }
}

/** Only where nothing is mounted there yet. */
function mountApiToken(container: Container): void {
  const mountPath = '/var/run/secrets/kubernetes.io/serviceaccount'
  if (container.volumeMounts?.some(mount => mount.mountPath === mountPath)) return
  container.volumeMounts = [
    ...(container.volumeMounts ?? []),
    { name: 'kube-api-access-x7k2p', mountPath, readOnly: true }
  ]
}
