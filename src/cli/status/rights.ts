/** Whether the service accounts of Rayguard have what they need, asked of the API server (SubjectAccessReview). */
import type { Client } from '../../kubernetes/client.ts'

export interface RightFound {
  component: string
  right: string
  allowed: boolean
}

interface Wanted {
  verb: string
  resource: string
  group?: string
  name?: string
  /** In Rayguard's own namespace; otherwise in all. */
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
    }))
  ]
}

/** Throws {@link KubernetesError} where the person may not ask. */
export async function rightsOf(client: Client, namespace: string): Promise<RightFound[]> {
  const asked = Object.entries(wanted).flatMap(([component, rights]) =>
    rights.map(right => ask(client, namespace, component, right))
  )
  return Promise.all(asked)
}

async function ask(
  client: Client,
  ownNamespace: string,
  component: string,
  { verb, resource, group = '', name, own }: Wanted
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
        resourceAttributes: {
          ...{ verb, group, resource },
          ...(name === undefined ? {} : { name }),
          ...(own ? { namespace: ownNamespace } : {})
        }
      }
    },
    { repeatable: true }
  )
  const right = `${verb} ${resource}${group === '' ? '' : `.${group}`}`
  return { component, right, allowed: review?.status?.allowed === true }
}
