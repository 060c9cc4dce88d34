/**
 * The pods that KubeRay would make of a RayCluster, as far as Rayguard decides by them.
 *
 * Containers with their names, images, variables, mounts and security contexts, volumes, labels, owners; not the commands, the
 * probes and the resources that KubeRay works out. Modelled after `DefaultHeadPodTemplate`, `DefaultWorkerPodTemplate` and
 * `BuildPod` of the version below; what an operator's own configuration adds (sidecars, default variables) is not known here.
 */
import type { Container, EnvVar, Pod, PodSpec } from '../kubernetes/objects.ts'
import { clusterLabel, groupLabel, nodeTypeLabel } from './classify.ts'
import { autoscalerContainer, rayContainerIndex } from './containers.ts'
import { headServiceNames, serviceFqdn } from './head-service.ts'
import { autoscaler, mountEmptyDir, nameHead, rayVariables, waitFor } from './operator-parts.ts'
import type { PodPlace } from './places.ts'
import {
  appended,
  MalformedResource,
  type Members,
  member,
  objectAt,
  present,
  templateOf
} from './template.ts'

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
  // Out of the template, before KubeRay adds variables and mounts to the Ray container.
  spec.initContainers = appended(spec.initContainers, waitFor(ray))
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

function rayContainer({ containers }: PodSpec): Container {
  return containers[rayContainerIndex] as Container
}
