/** Why a pod gets no certificate of its RayCluster's CA now, in words for administrators. */
import { AuthorityError, type RayClusterReference } from '../authority.ts'
import { secretOf } from './entries.ts'
import type { Place } from './secrets.ts'

export function damaged(
  { namespace, name, uid }: RayClusterReference,
  { secret }: Place
): AuthorityError {
  return new AuthorityError(
    'Invalid',
    `What the Secret ${secret} holds for the RayCluster ${namespace}/${name} (${uid}) cannot be read. ` +
      'Bring the Secret back from a backup; or take that key out of it and delete all pods of the RayCluster at once.'
  )
}

export function exhausted(
  { namespace }: RayClusterReference,
  count: number,
  most: number
): AuthorityError {
  return new AuthorityError(
    'Exhausted',
    `The namespace ${namespace} has ${count} CAs of Ray clusters, made or asked for; at most ${most} are held, and asked for within an hour.`
  )
}

export function begunAnew({
  namespace,
  name
}: Pick<RayClusterReference, 'namespace' | 'name'>): AuthorityError {
  return new AuthorityError(
    'Unavailable',
    `The CA of the RayCluster ${namespace}/${name} is not renewed: another has been asked for in its place.`
  )
}

export function headless({ namespace, name }: RayClusterReference): AuthorityError {
  return new AuthorityError(
    'TooEarly',
    `The RayCluster ${namespace}/${name} gets its CA when its head pod is there, and no such pod is seen (yet).`
  )
}

export function lost(
  { namespace, name, uid }: RayClusterReference,
  { secret }: Place
): AuthorityError {
  return new AuthorityError(
    'Invalid',
    `The pods of the RayCluster ${namespace}/${name} (${uid}) trust a CA that the Secret ${secret} does not hold (any more). ` +
      'Bring the Secret back from a backup, or delete all pods of the RayCluster at once.'
  )
}

export function unjudged(): AuthorityError {
  return new AuthorityError(
    'Unavailable',
    'Which CA all pods share is not known (yet), so it cannot be told of which one those are that run.'
  )
}

export function unusable(
  { namespace, name }: Pick<RayClusterReference, 'namespace' | 'name'>,
  why: string,
  cause?: unknown
): AuthorityError {
  return new AuthorityError(
    'Invalid',
    `The CA of the RayCluster ${namespace}/${name} cannot be used: ${why}.`,
    { cause }
  )
}

export function unvouched({ namespace, name, uid }: RayClusterReference): AuthorityError {
  return new AuthorityError(
    'Invalid',
    `The CA of the RayCluster ${namespace}/${name} (${uid}) in the Secret ${secretOf(namespace)} is not used: its key is not sealed, and no CA of this authority has signed for it. ` +
      'Was it made under another authority? Name the CA of that in enrollment.alsoTrustedFile until all are sealed. ' +
      'Else somebody has written it there: see who may, take that key out of the Secret, and delete all pods of the RayCluster at once.'
  )
}
