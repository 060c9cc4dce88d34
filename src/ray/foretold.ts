/**
 * The pods that KubeRay would make of a RayCluster, as far as Rayguard decides by them.
 *
 * Containers with their names, images, variables, mounts and security contexts, volumes, labels, owners; not the commands, the
 * probes and the resources that KubeRay works out. Modelled after `DefaultHeadPodTemplate`, `DefaultWorkerPodTemplate` and
 * `BuildPod` of the version below; what an operator's own configuration adds (sidecars, default variables) is not known here.
 */
import type { Container, EnvVar, Pod, PodSpec, Volume } from '../kubernetes/objects.ts'
import { clusterLabel, groupLabel, nodeTypeLabel } from './classify.ts'
import { autoscalerContainer, rayContainerIndex, waitContainer } from './containers.ts'
import { headServiceNames, serviceFqdn } from './head-service.ts'
import type { PodPlace } from './places.ts'

export const modelledKubeRay = 'v1.6'

export interface ForetoldPod {
  /** Within its resource, for people: `head`, `worker group small`, `submitter`. */
  role: string
  pod: Pod
  place: PodPlace
  /** Names of the Services that lead to it; only for a head. */
  headServices?: string[]
}

export interface ClusterTemplate {
  apiVersion: string
  name: string
  namespace: string
  uid: string
  spec: Members
  /** Where `spec` stands in the resource. */
  place: string
  /** `<owner>-head-svc` of a RayJob or RayService leads to its head, too. */
  owner?: string
  /** Of a RayJob in SidecarMode. */
  sidecar?(image: string | undefined): Container
}

export type Members = Record<string, unknown>

/** What stands in a resource is not what KubeRay takes; the message says where, what was expected and what was found. */
export class MalformedResource extends Error {
  readonly code = 'MalformedResource'

  constructor(place: string, expected: string, found: unknown) {
    super(`${place} must be ${expected}, found ${shown(found)}`)
    this.name = 'MalformedResource'
  }
}

/** The default of the operator's variable CLUSTER_DOMAIN; the name is in variables alone, which nothing decides by. */
const operatorDomain = 'cluster.local'

/** More than fit into an object of the usual size; without a bound each would cost time, whoever asks. */
const maximumGroups = 500

/** Head first, then one pod for each worker group. Throws {@link MalformedResource}. */
export function podsOfCluster(cluster: ClusterTemplate): ForetoldPod[] {
  const { spec, place } = cluster
  const head = objectAt(spec.headGroupSpec, `${place}.headGroupSpec`)
  const groups = spec.workerGroupSpecs ?? []
  if (!Array.isArray(groups))
    throw new MalformedResource(`${place}.workerGroupSpecs`, 'a list', groups)
  if (groups.length > maximumGroups) {
    const expected = `a list of at most ${maximumGroups} worker groups`
    throw new MalformedResource(`${place}.workerGroupSpecs`, expected, groups)
  }
  const services = headServicesOf(cluster, head)
  const fqdn = serviceFqdn(services[0] ?? '', cluster.namespace, operatorDomain)
  return [
    {
      role: 'head',
      pod: headPod(cluster, head, fqdn),
      place: { template: `${place}.headGroupSpec.template.spec`, cluster: place },
      headServices: services
    },
    ...groups.map((value, index) => {
      const at = `${place}.workerGroupSpecs[${index}]`
      const group = objectAt(value, at)
      if (typeof group.groupName !== 'string' || group.groupName === '')
        throw new MalformedResource(`${at}.groupName`, 'a name', group.groupName)
      return {
        role: `worker group ${group.groupName}`,
        pod: workerPod(cluster, { group, name: group.groupName, at, fqdn }),
        place: { template: `${at}.template.spec`, cluster: place }
      }
    })
  ]
}

/** The image of the Ray container, which KubeRay also gives to what it adds. */
export function rayImage({ spec, place }: ClusterTemplate): string | undefined {
  const at = `${place}.headGroupSpec`
  return rayContainer(templateOf(objectAt(spec.headGroupSpec, at), at).spec).image
}

function headServicesOf(cluster: ClusterTemplate, head: Members): string[] {
  const metadata = member(member(head, 'headService'), 'metadata')
  const given = member(metadata, 'name')
  const own =
    typeof given === 'string' && given !== '' ? [given] : headServiceNames(cluster.name).slice(0, 1)
  const stable = cluster.owner === undefined ? [] : headServiceNames(cluster.owner).slice(0, 1)
  return [...own, ...stable]
}

function headPod(cluster: ClusterTemplate, group: Members, fqdn: string): Pod {
  const { spec: clusterSpec, place } = cluster
  const { metadata, spec } = templateOf(group, `${place}.headGroupSpec`)
  const ray = rayContainer(spec)
  const autoscaling = clusterSpec.enableInTreeAutoscaling === true
  const options = clusterSpec.autoscalerOptions
  if (cluster.sidecar) {
    spec.containers = appended(spec.containers, cluster.sidecar(ray.image))
    spec.restartPolicy = 'Never'
  }
  if (autoscaling) {
    const given = spec.serviceAccountName
    spec.serviceAccountName = typeof given === 'string' && given !== '' ? given : cluster.name
    spec.containers = appended(spec.containers, autoscaler(ray.image, options))
    if (member(options, 'version') === 'v2') spec.restartPolicy = 'Never'
  }
  nameHead(spec, fqdn)
  ray.env = appended(ray.env, ...rayVariables(ray, '127.0.0.1:6379'))
  mountEmptyDir(spec, { name: 'shared-mem', path: '/dev/shm', medium: 'Memory' }, [ray.name])
  if (autoscaling)
    mountEmptyDir(spec, { name: 'ray-logs', path: '/tmp/ray' }, [ray.name, autoscalerContainer])
  return podOf(cluster, {
    nodeType: 'head',
    group: 'headgroup',
    metadata,
    topLabels: group.labels,
    spec
  })
}

interface Worker {
  group: Members
  name: string
  at: string
  fqdn: string
}

function workerPod(cluster: ClusterTemplate, { group, name, at, fqdn }: Worker): Pod {
  const { metadata, spec } = templateOf(group, at)
  const ray = rayContainer(spec)
  // A copy out of the template, before KubeRay adds variables and mounts to the Ray container.
  const { image, imagePullPolicy, env, volumeMounts, securityContext } = structuredClone(ray)
  const wait: Container = {
    name: waitContainer,
    ...present({ image, imagePullPolicy, env, volumeMounts, securityContext }),
    resources: sameResources('200m', '256Mi')
  }
  spec.initContainers = appended(spec.initContainers, wait)
  nameHead(spec, fqdn)
  const head: EnvVar[] = [
    { name: 'FQ_RAY_IP', value: fqdn },
    { name: 'RAY_IP', value: fqdn.split('.')[0] ?? '' }
  ]
  ray.env = appended(ray.env, ...head, ...rayVariables(ray, `${fqdn}:6379`))
  mountEmptyDir(spec, { name: 'shared-mem', path: '/dev/shm', medium: 'Memory' }, [ray.name])
  if (
    member(cluster.spec.autoscalerOptions, 'version') === 'v2' &&
    cluster.spec.enableInTreeAutoscaling === true
  )
    spec.restartPolicy = 'Never'
  return podOf(cluster, {
    nodeType: 'worker',
    group: name,
    metadata,
    topLabels: group.labels,
    spec
  })
}

interface Parts {
  nodeType: 'head' | 'worker'
  group: string
  metadata: Members
  topLabels: unknown
  spec: PodSpec
}

function podOf(cluster: ClusterTemplate, parts: Parts): Pod {
  const { nodeType, group, metadata, topLabels, spec } = parts
  const middle = nodeType === 'head' ? '' : `-${group}`
  const own = { [clusterLabel]: cluster.name, [nodeTypeLabel]: nodeType, [groupLabel]: group }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: `${`${cluster.name}${middle}`.slice(0, 50)}-${nodeType}-`.toLowerCase(),
      namespace: cluster.namespace,
      labels: {
        'ray.io/is-ray-node': 'yes',
        'ray.io/identifier': `${cluster.name}-${nodeType}`.slice(-63),
        'app.kubernetes.io/name': 'kuberay',
        'app.kubernetes.io/created-by': 'kuberay-operator',
        ...(metadata.labels as object | undefined),
        ...(topLabels as object | undefined),
        ...own
      },
      ...(present({ annotations: metadata.annotations }) as {
        annotations?: Record<string, string>
      }),
      ownerReferences: [
        {
          apiVersion: cluster.apiVersion,
          kind: 'RayCluster',
          name: cluster.name,
          uid: cluster.uid,
          controller: true,
          blockOwnerDeletion: true
        }
      ]
    },
    spec
  }
}

/** `BuildAutoscalerContainer`, then what the options override. */
function autoscaler(image: string | undefined, options: unknown): Container {
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

/** What KubeRay sets in the Ray container whatever it is; RAY_ADDRESS and RAY_PORT only where the user has not. */
function rayVariables(ray: Container, address: string): EnvVar[] {
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
function nameHead({ initContainers }: PodSpec, fqdn: string): void {
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
function mountEmptyDir(spec: PodSpec, { name, path, medium }: EmptyDir, into: string[]): void {
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

/** A copy of a group's template whose first container can be read; the rest is judged as part of the pod. */
export function templateOf(group: Members, at: string): { metadata: Members; spec: PodSpec } {
  const template = objectAt(group.template, `${at}.template`)
  const place = `${at}.template.spec`
  const { containers } = objectAt(template.spec, place)
  if (!Array.isArray(containers) || containers.length === 0)
    throw new MalformedResource(`${place}.containers`, 'a list with the Ray container', containers)
  for (const [index, container] of containers.entries()) {
    if (!isObject(container) || typeof container.name !== 'string') {
      const what = 'a container with a name'
      throw new MalformedResource(`${place}.containers[${index}]`, what, container)
    }
  }
  const { metadata, spec } = structuredClone(template) as { metadata?: unknown; spec: PodSpec }
  return { metadata: isObject(metadata) ? metadata : {}, spec }
}

export function objectAt(value: unknown, place: string): Members {
  if (isObject(value)) return value
  throw new MalformedResource(place, 'an object', value)
}

export function sameResources(cpu: string, memory: string): NonNullable<Container['resources']> {
  return { limits: { cpu, memory }, requests: { cpu, memory } }
}

/** What is no list stays as it is: the judge of the pod says so. */
export function appended<T>(list: T[] | null | undefined, ...more: T[]): T[] {
  if (list === undefined || list === null) return more
  return Array.isArray(list) ? [...list, ...more] : list
}

function rayContainer({ containers }: PodSpec): Container {
  return containers[rayContainerIndex] as Container
}

function present<T extends object>(fields: T): Partial<{ [K in keyof T]: NonNullable<T[K]> }> {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null)
  ) as Partial<{ [K in keyof T]: NonNullable<T[K]> }>
}

export function member(value: unknown, key: string): unknown {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
}

export function isObject(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  if (value === null) return 'null'
  if (Array.isArray(value))
    return value.length === 0 ? 'an empty list' : `a list of ${value.length}`
  return typeof value === 'string'
    ? JSON.stringify(value.slice(0, 60))
    : isObject(value)
      ? 'an object'
      : String(value)
}
