import type { Right } from '../kubernetes/rights.ts'

/** Everything that an enrollment asks of the API, in all namespaces. */
export const neededRights: readonly Right[] = [
  { verb: 'create', group: 'authentication.k8s.io', resource: 'tokenreviews' },
  { verb: 'get', group: '', resource: 'pods' },
  { verb: 'list', group: '', resource: 'pods' },
  { verb: 'watch', group: '', resource: 'pods' },
  { verb: 'get', group: '', resource: 'namespaces' },
  { verb: 'get', group: '', resource: 'services' },
  { verb: 'get', group: 'ray.io', resource: 'rayclusters' },
  { verb: 'get', group: 'ray.io', resource: 'rayservices' },
  { verb: 'get', group: 'ray.io', resource: 'rayjobs' }
]
