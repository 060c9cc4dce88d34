/**
 * The pods that come of a RayCluster, RayJob, RayService or RayCronJob, also through what KubeRay makes of it in between.
 *
 * Names that KubeRay draws by lot are shown as `xxxxx`.
 */
import type { Container, EnvVar, Pod, PodSpec } from '../kubernetes/objects.ts'
import { type ClusterTemplate, type ForetoldPod, podsOfCluster, rayImage } from './foretold.ts'
import {
  appended,
  MalformedResource,
  type Members,
  member,
  objectAt,
  templateOf
} from './template.ts'

export const rayResources = ['RayCluster', 'RayJob', 'RayService', 'RayCronJob'] as const
export type RayResource = (typeof rayResources)[number]

const noUid = '00000000-0000-0000-0000-000000000000'
const drawn = 'xxxxx'
const submitterContainer = 'ray-job-submitter'
const submissionModes = ['K8sJobMode', 'SidecarMode', 'HTTPMode', 'InteractiveMode']

export function isRayResource({ apiVersion, kind }: Members): boolean {
  return (
    (rayResources as readonly unknown[]).includes(kind) &&
    typeof apiVersion === 'string' &&
    /^ray\.io\/v[0-9]/.test(apiVersion)
  )
}

/** For {@link isRayResource}. `problem`: where in the resource, what was expected and what was found. */
export function podsOfResource(
  resource: Members
): { name: string; pods: ForetoldPod[] } | { problem: string } {
  try {
    const metadata = objectAt(resource.metadata, 'metadata')
    const name = nameOf(metadata)
    return { name, pods: podsOf(resource, metadata, name) }
  } catch (error) {
    if (error instanceof MalformedResource) return { problem: error.message }
    throw error
  }
}

function podsOf(resource: Members, metadata: Members, name: string): ForetoldPod[] {
  const spec = objectAt(resource.spec, 'spec')
  const { namespace } = metadata
  const place: Place = {
    apiVersion: resource.apiVersion as string,
    namespace: typeof namespace === 'string' && namespace !== '' ? namespace : 'default'
  }
  switch (resource.kind as RayResource) {
    case 'RayCluster': {
      const uid = typeof metadata.uid === 'string' ? metadata.uid : noUid
      return podsOfCluster({ ...place, name, uid, spec, place: 'spec' })
    }
    case 'RayJob':
      return podsOfJob(place, name, spec, 'spec')
    case 'RayCronJob':
      return podsOfJob(
        place,
        `${name}-${drawn}`,
        objectAt(spec.jobTemplate, 'spec.jobTemplate'),
        'spec.jobTemplate'
      )
    case 'RayService': {
      const at = 'spec.rayClusterConfig'
      const cluster = { name: `${name}-${drawn}`, uid: noUid, place: at, owner: name }
      return podsOfCluster({ ...place, ...cluster, spec: objectAt(spec.rayClusterConfig, at) })
    }
  }
}

type Place = Pick<ClusterTemplate, 'apiVersion' | 'namespace'>

function podsOfJob(place: Place, name: string, spec: Members, at: string): ForetoldPod[] {
  const mode = spec.submissionMode ?? 'K8sJobMode'
  if (!submissionModes.includes(mode as string))
    throw new MalformedResource(`${at}.submissionMode`, submissionModes.join(', '), mode)
  const selected = member(spec.clusterSelector, 'ray.io/cluster') !== undefined
  const clusterAt = `${at}.rayClusterSpec`
  const cluster: ClusterTemplate | undefined = selected
    ? undefined
    : {
        ...place,
        name: `${name}-${drawn}`,
        uid: noUid,
        spec: objectAt(spec.rayClusterSpec, clusterAt),
        place: clusterAt,
        owner: name,
        ...(mode === 'SidecarMode' ? { sidecar: submitter } : {})
      }
  const pods = cluster === undefined ? [] : podsOfCluster(cluster)
  if (mode !== 'K8sJobMode') return pods
  const image = cluster === undefined ? undefined : rayImage(cluster)
  const pod = submitterPod(place, name, spec, { at, image })
  const own = isSet(spec.submitterPodTemplate)
  const template = own ? { template: `${at}.submitterPodTemplate.spec` } : {}
  return [...pods, { role: 'submitter', pod, place: template }]
}

/** The pod of the Job that KubeRay makes in K8sJobMode, with the labels that the Job controller adds. */
function submitterPod(
  { namespace }: Place,
  job: string,
  { submitterPodTemplate }: Members,
  { at, image }: { at: string; image: string | undefined }
): Pod {
  const own = isSet(submitterPodTemplate)
  const { metadata, spec } = own
    ? templateOf({ template: submitterPodTemplate }, `${at}.submitterPodTemplate`)
    : { metadata: {}, spec: { containers: [submitter(image)], restartPolicy: 'Never' } as PodSpec }
  const [container] = spec.containers
  if (own && container) container.env = appended(container.env, ...submitterVariables)
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      generateName: `${job}-`,
      namespace,
      labels: {
        ...(metadata.labels as object | undefined),
        'batch.kubernetes.io/controller-uid': noUid,
        'batch.kubernetes.io/job-name': job,
        'job-name': job
      },
      ...(metadata.annotations === undefined || metadata.annotations === null
        ? {}
        : { annotations: metadata.annotations as Record<string, string> }),
      ownerReferences: [
        { apiVersion: 'batch/v1', kind: 'Job', name: job, uid: noUid, controller: true }
      ]
    },
    spec
  }
}

const submitterVariables: EnvVar[] = [
  { name: 'PYTHONUNBUFFERED', value: '1' },
  { name: 'RAY_DASHBOARD_ADDRESS', value: '<dashboard of the RayCluster>' },
  { name: 'RAY_JOB_SUBMISSION_ID', value: '<submission of the RayJob>' }
]

/** `GetDefaultSubmitterContainer`: without a security context, whatever the head has. */
function submitter(image: string | undefined): Container {
  return {
    name: submitterContainer,
    ...(image === undefined ? {} : { image }),
    env: [...submitterVariables],
    resources: {
      limits: { cpu: '1', memory: '1Gi' },
      requests: { cpu: '500m', memory: '200Mi' }
    }
  }
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null
}

function nameOf({ name, generateName }: Members): string {
  if (typeof name === 'string' && name !== '') return name
  if (typeof generateName === 'string' && generateName !== '') return `${generateName}${drawn}`
  throw new MalformedResource('metadata.name', 'a name', name)
}
