/**
 * The few calls that Rayguard makes, by name. Reads and reviews only: nothing here changes the cluster.
 */
import type { Client } from './client.ts'
import { codeOfStatus, KubernetesError } from './error.ts'
import type { KubernetesObject, Namespace, Pod, Service } from './objects.ts'
import { path } from './path.ts'
import type { TokenReviewStatus, UserInfo } from './reviews.ts'
import type { Right } from './rights.ts'

export interface Calls {
  reviewToken(token: string, audience: string): Promise<TokenReviewStatus>
  pod(namespace: string, name: string): Promise<Pod | undefined>
  namespace(name: string): Promise<Namespace | undefined>
  service(namespace: string, name: string): Promise<Service | undefined>
  /** An object of KubeRay's, in the version given or in any other that the cluster serves. */
  rayObject<T extends KubernetesObject>(
    namespace: string,
    reference: RayReference
  ): Promise<T | undefined>
  /** Whether this program itself has a right, in all namespaces unless it names one. */
  may(right: Right): Promise<boolean>
  /** Whether the objects of a kind belong to namespaces; `undefined`: the cluster does not know the kind. */
  isNamespaced(group: string, kind: string): Promise<boolean | undefined>
  /** Whether a user may, whom the API server has vouched for. */
  userMay(user: UserInfo, right: Right): Promise<boolean>
}

export interface RayReference {
  apiVersion: RayVersion
  kind: RayKind
  name: string
}

/** KubeRay has served both since 1.0; older ones only the second. */
export const rayVersions = ['ray.io/v1', 'ray.io/v1alpha1'] as const
export type RayVersion = (typeof rayVersions)[number]

export const rayResources = {
  RayCluster: 'rayclusters',
  RayService: 'rayservices',
  RayJob: 'rayjobs'
} as const
export type RayKind = keyof typeof rayResources

/** RFC 1123 subdomain: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ */
const objectName = /^[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$/

export function createCalls(client: Client): Calls {
  return {
    async reviewToken(token, audience) {
      const review = await client.create<{ status?: TokenReviewStatus | null } | null>(
        '/apis/authentication.k8s.io/v1/tokenreviews',
        {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenReview',
          spec: { token, audiences: [audience] }
        },
        { repeatable: true }
      )
      return review?.status ?? {}
    },
    async pod(namespace, name) {
      const found = await client.get<Pod>(path`/api/v1/namespaces/${namespace}/pods/${name}`)
      if (found && (typeof found.spec !== 'object' || !Array.isArray(found.spec?.containers)))
        throw new KubernetesError('Invalid', `The API answered a pod without a specification.`)
      return found
    },
    namespace: name => client.get<Namespace>(path`/api/v1/namespaces/${name}`),
    service: (namespace, name) =>
      client.get<Service>(path`/api/v1/namespaces/${namespace}/services/${name}`),
    async rayObject<T extends KubernetesObject>(namespace: string, reference: RayReference) {
      // Attack: an owner reference may hold any text. No object has such a name, which is no fault of the API.
      if (!objectName.test(reference.name)) return undefined
      const resource = rayResources[reference.kind]
      const others = rayVersions.filter(version => version !== reference.apiVersion)
      for (const version of [reference.apiVersion, ...others]) {
        const group = `/apis/${version}`
        const found = await client.get<T>(
          group + path`/namespaces/${namespace}/${resource}/${reference.name}`
        )
        if (found) return found
      }
      return undefined
    },
    async may(right) {
      const review = await client.create<{ status?: { allowed?: boolean } | null } | null>(
        '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews',
        {
          apiVersion: 'authorization.k8s.io/v1',
          kind: 'SelfSubjectAccessReview',
          spec: { resourceAttributes: right }
        },
        { repeatable: true }
      )
      return review?.status?.allowed === true
    },
    async isNamespaced(group, kind) {
      const found = await discovered<{ preferredVersion: { groupVersion: string } }>(
        client,
        path`/apis/${group}`
      )
      if (found === undefined) return undefined
      const [, version = ''] = found.preferredVersion.groupVersion.split('/')
      const list = await discovered<{ resources: { kind: string; namespaced: boolean }[] }>(
        client,
        path`/apis/${group}/${version}`
      )
      return list?.resources.find(resource => resource.kind === kind)?.namespaced
    },
    async userMay({ username, uid, groups, extra }, right) {
      const review = await client.create<{
        status?: { allowed?: boolean; denied?: boolean } | null
      } | null>(
        '/apis/authorization.k8s.io/v1/subjectaccessreviews',
        {
          apiVersion: 'authorization.k8s.io/v1',
          kind: 'SubjectAccessReview',
          spec: { user: username, uid, groups, extra, resourceAttributes: right }
        },
        { repeatable: true }
      )
      return review?.status?.allowed === true && review.status.denied !== true
    }
  }
}

/** What the API server says of a group (https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api). */
async function discovered<T>(client: Client, at: string): Promise<T | undefined> {
  const { status, text } = await client.look(at)
  if (status === 404) return undefined
  if (status !== 200)
    throw new KubernetesError(codeOfStatus(status), `GET ${at}: status ${status}`, { status })
  try {
    return JSON.parse(text) as T
  } catch (cause) {
    throw new KubernetesError('Invalid', `GET ${at}: JSON was expected.`, { cause })
  }
}
