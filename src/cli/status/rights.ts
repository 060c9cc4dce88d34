/** Whether the service accounts of Rayguard have what they need, asked of the API server (SubjectAccessReview). */
import { neededRights } from '../../authority/open.ts'
import type { Client } from '../../kubernetes/client.ts'
import type { ConfigMap } from '../../kubernetes/objects.ts'
import { path } from '../../kubernetes/path.ts'
import { type Right, rightName } from '../../kubernetes/rights.ts'
import { authorityIn } from '../../settings/authority-section.ts'

export interface RightFound {
  component: string
  right: string
  allowed: boolean
}

interface Wanted extends Omit<Right, 'group'> {
  group?: string
  /** In Rayguard's own namespace. */
  own?: boolean
}

const admissionGroup = 'admissionregistration.k8s.io'
const registration = ['mutating', 'validating'].flatMap(kind =>
  ['get', 'patch'].map(verb => ({
    verb,
    group: admissionGroup,
    resource: `${kind}webhookconfigurations`,
    name: 'rayguard'
  }))
)
const events: Wanted = { verb: 'create', group: 'events.k8s.io', resource: 'events' }
const leases = { group: 'coordination.k8s.io', resource: 'leases', own: true }
const wanted: Record<string, Wanted[]> = {
  webhook: [
    events,
    ...['namespaces', 'pods'].flatMap(resource =>
      ['list', 'watch'].map(verb => ({ verb, resource }))
    ),
    ...registration,
    { verb: 'get', resource: 'configmaps', name: 'rayguard-enrollment-ca', own: true }
  ],
  enrollment: [
    events,
    { verb: 'create', group: 'authentication.k8s.io', resource: 'tokenreviews' },
    ...['get', 'list', 'watch'].map(verb => ({ verb, resource: 'pods' })),
    { verb: 'get', resource: 'namespaces' },
    { verb: 'get', resource: 'services' },
    ...['rayclusters', 'rayjobs', 'rayservices'].map(resource => ({
      verb: 'get',
      group: 'ray.io',
      resource
    })),
    // of the Secrets with the CAs of RayClusters, which are named in one rule
    ...['get', 'update'].map(verb => ({
      ...{ verb, resource: 'secrets', name: 'rayguard-clusters', own: true }
    })),
    { verb: 'create', resource: 'secrets', own: true }
  ]
}

/** Of the components that need not be installed. */
const wantedWhereInstalled: Record<string, Wanted[]> = {
  replacement: [
    events,
    ...['get', 'list', 'watch'].map(verb => ({ verb, resource: 'pods' })),
    { verb: 'create', resource: 'pods', subresource: 'eviction' },
    { verb: 'get', resource: 'namespaces' },
    ...registration.filter(({ verb, resource }) => verb === 'get' && /^mutating/.test(resource)),
    ...['get', 'update'].map(verb => ({ ...leases, verb, name: 'rayguard-replacement' })),
    { ...leases, verb: 'create' }
  ]
}

/** `installed`: components. Throws {@link KubernetesError} where the person may not ask. */
export async function rightsOf(
  client: Client,
  namespace: string,
  installed: readonly string[]
): Promise<RightFound[]> {
  const ofAuthority = await authorityRights(client, namespace)
  const more = Object.entries(wantedWhereInstalled).filter(([name]) => installed.includes(name))
  const all = {
    ...{ ...wanted, enrollment: [...(wanted.enrollment ?? []), ...ofAuthority] },
    ...Object.fromEntries(more)
  }
  const asked = Object.entries(all).flatMap(([component, rights]) =>
    rights.map(right => ask(client, namespace, component, right))
  )
  return Promise.all(asked)
}

/** Which these are depends on the authority, which stands in the settings of the manifests. */
async function authorityRights(client: Client, namespace: string): Promise<Right[]> {
  const at = path`/api/v1/namespaces/${namespace}/configmaps/rayguard`
  const map = await client.get<ConfigMap>(at)
  const authority = authorityIn(map?.data?.['config.yaml'] ?? '')
  return authority === undefined ? [] : neededRights(authority, namespace)
}

async function ask(
  client: Client,
  ownNamespace: string,
  component: string,
  { group = '', own, ...right }: Wanted
): Promise<RightFound> {
  const review = await client.create<{ status?: { allowed?: boolean } | null }>(
    '/apis/authorization.k8s.io/v1/subjectaccessreviews',
    {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      spec: {
        user: `system:serviceaccount:${ownNamespace}:rayguard-${component}`,
        groups: [
          'system:serviceaccounts',
          `system:serviceaccounts:${ownNamespace}`,
          'system:authenticated'
        ],
        resourceAttributes: { ...right, group, ...(own ? { namespace: ownNamespace } : {}) }
      }
    },
    { repeatable: true }
  )
  return {
    component,
    right: rightName({ ...right, group }),
    allowed: review?.status?.allowed === true
  }
}
