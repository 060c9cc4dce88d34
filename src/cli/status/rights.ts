/** Whether the service accounts of Rayguard have what they need, asked of the API server (SubjectAccessReview). */
import { neededRights } from '../../authority/open.ts'
import { clientSignerRights } from '../../clients/rights.ts'
import type { Client } from '../../kubernetes/client.ts'
import { type Right, rightName } from '../../kubernetes/rights.ts'
import type { ManifestSettings } from './settings.ts'

export interface RightFound {
  component: string
  right: string
  allowed: boolean
  /** Where not all of the component hangs on it. */
  use?: 'clients'
}

interface Wanted extends Omit<Right, 'group'> {
  group?: string
  /** In Rayguard's own namespace. */
  own?: boolean
  use?: 'clients'
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

export interface Installed {
  components: readonly string[]
  /** Which rights the authority needs stands in them. */
  settings: ManifestSettings | undefined
  /** Some replica answers requests for client certificates, or is to. */
  clients: boolean
}

/** Throws {@link KubernetesError} where the person may not ask. */
export async function rightsOf(
  client: Client,
  namespace: string,
  { components, settings, clients }: Installed
): Promise<RightFound[]> {
  const more = Object.entries(wantedWhereInstalled).filter(([name]) => components.includes(name))
  const enrollment = [
    ...(wanted.enrollment ?? []),
    ...(settings?.authority ? neededRights(settings.authority, namespace) : []),
    ...(clients ? clientSignerRights.map(right => ({ ...right, use: 'clients' as const })) : [])
  ]
  const all = { ...wanted, enrollment, ...Object.fromEntries(more) }
  const asked = Object.entries(all).flatMap(([component, rights]) =>
    rights.map(right => ask(client, namespace, component, right))
  )
  return Promise.all(asked)
}

async function ask(
  client: Client,
  ownNamespace: string,
  component: string,
  { group = '', own, use, ...right }: Wanted
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
    allowed: review?.status?.allowed === true,
    ...(use === undefined ? {} : { use })
  }
}
