/** What KubeRay puts into the pods that it makes: containers, variables, volumes. Modelled as foretold.ts says. */
import type { Container, EnvVar, PodSpec, Volume } from '../kubernetes/objects.ts'
import { autoscalerContainer, waitContainer } from './containers.ts'
import { appended, isObject, member, present } from './template.ts'

/** `BuildAutoscalerContainer`, then what the options override. */
export function autoscaler(image: string | undefined, options: unknown): Container {
  const field = (name: string, fieldPath: string): EnvVar => ({
    name,
    valueFrom: { fieldRef: { fieldPath } }
  })
  const { env, envFrom, volumeMounts, ...settings } = (
    isObject(options) ? options : {}
  ) as Partial<Container>
  return {
    name: autoscalerContainer,
    ...present({ image: settings.image ?? image }),
    imagePullPolicy: settings.imagePullPolicy ?? 'IfNotPresent',
    env: appended(
      [
        field('RAY_CLUSTER_NAME', "metadata.labels['ray.io/cluster']"),
        field('RAY_CLUSTER_NAMESPACE', 'metadata.namespace'),
        field('RAY_HEAD_POD_NAME', 'metadata.name'),
        { name: 'KUBERAY_CRD_VER', value: 'v1' }
      ],
      ...(Array.isArray(env) ? env : [])
    ),
    ...present({ envFrom, volumeMounts, securityContext: settings.securityContext }),
    resources: settings.resources ?? sameResources('500m', '512Mi')
  }
}

/** The worker's default init container: a copy of the Ray container as its template has it. */
export function waitFor(ray: Container): Container {
  const { image, imagePullPolicy, env, volumeMounts, securityContext } = structuredClone(ray)
  return {
    name: waitContainer,
    ...present({ image, imagePullPolicy, env, volumeMounts, securityContext }),
    resources: sameResources('200m', '256Mi')
  }
}

/** What KubeRay sets in the Ray container whatever it is; RAY_ADDRESS and RAY_PORT only where the user has not. */
export function rayVariables(ray: Container, address: string): EnvVar[] {
  const known = new Set(
    Array.isArray(ray.env) ? ray.env.map(variable => member(variable, 'name')) : []
  )
  const field = (name: string, fieldPath: string): EnvVar => ({
    name,
    valueFrom: { fieldRef: { fieldPath } }
  })
  return [
    field('RAY_CLUSTER_NAME', "metadata.labels['ray.io/cluster']"),
    field('RAY_CLUSTER_NAMESPACE', 'metadata.namespace'),
    field('RAY_CLOUD_INSTANCE_ID', 'metadata.name'),
    field('RAY_NODE_TYPE_NAME', "metadata.labels['ray.io/group']"),
    ...[
      { name: 'RAY_PORT', value: '6379' },
      { name: 'RAY_ADDRESS', value: address }
    ].filter(({ name }) => !known.has(name)),
    { name: 'RAY_USAGE_STATS_KUBERAY_IN_USE', value: '1' }
  ]
}

/** `setInitContainerEnvVars`: appended whatever stands there. */
export function nameHead({ initContainers }: PodSpec, fqdn: string): void {
  if (!Array.isArray(initContainers)) return
  for (const container of initContainers) {
    if (!isObject(container)) continue
    container.env = appended(
      container.env,
      { name: 'FQ_RAY_IP', value: fqdn },
      { name: 'RAY_IP', value: fqdn.split('.')[0] ?? '' }
    )
  }
}

interface EmptyDir {
  name: string
  path: string
  medium?: string
}

/** `addEmptyDir`: not where something is mounted already. */
export function mountEmptyDir(
  spec: PodSpec,
  { name, path, medium }: EmptyDir,
  into: string[]
): void {
  let added = false
  for (const container of spec.containers) {
    if (!into.includes(container.name)) continue
    const mounts = container.volumeMounts
    if (Array.isArray(mounts) && mounts.some(mount => member(mount, 'mountPath') === path)) continue
    container.volumeMounts = appended(mounts, { name, mountPath: path })
    added = true
  }
  const volumes = spec.volumes
  const stands = Array.isArray(volumes) && volumes.some(volume => member(volume, 'name') === name)
  const volume: Volume = { name, emptyDir: medium === undefined ? {} : { medium } }
  if (added && !stands) spec.volumes = appended(volumes, volume)
}

function sameResources(cpu: string, memory: string): NonNullable<Container['resources']> {
  return { limits: { cpu, memory }, requests: { cpu, memory } }
}
