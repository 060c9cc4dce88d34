import type { Calls, Right } from '../kubernetes/calls.ts'

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

/** The rights that this program lacks, as `get rayclusters.ray.io`. Throws what the API throws. */
export async function missingRights(calls: Calls): Promise<string[]> {
  const granted = await Promise.all(neededRights.map(right => calls.may(right)))
  return neededRights.filter((_, at) => !granted[at]).map(rightName)
}

function rightName({ verb, group, resource }: Right): string {
  return `${verb} ${group === '' ? resource : `${resource}.${group}`}`
}
