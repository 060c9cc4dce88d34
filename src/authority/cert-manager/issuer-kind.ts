/** Which issuer is asked, and who else may ask it. */
import type { Calls } from '../../kubernetes/calls.ts'
import { KubernetesError } from '../../kubernetes/error.ts'
import { AuthorityError } from '../authority.ts'
import type { IssuerReference } from './certificate-request.ts'

/**
 * An issuer of all namespaces signs for a tenant what it signs for us, so that the tenant could join any Ray cluster that
 * trusts it. Names of kinds are only custom; the API server knows. Throws AuthorityError.
 */
export async function checkIssuerKind(
  calls: Pick<Calls, 'isNamespaced'>,
  { group, kind }: IssuerReference,
  openToAllNamespaces: boolean
): Promise<void> {
  const namespaced = await answered(() => calls.isNamespaced(group, kind))
  if (namespaced === undefined) {
    throw new AuthorityError(
      'Unavailable',
      `The cluster knows no ${kind} of the group ${group}; is it installed?`
    )
  }
  if (namespaced || openToAllNamespaces) return
  throw new AuthorityError(
    'Invalid',
    `A ${kind} belongs to no namespace: any of them may ask it for a certificate that joins every Ray cluster. Use an issuer in Rayguard's own namespace; issuerOpenToAllNamespaces: true accepts the other.`
  )
}

async function answered<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    if (!(error instanceof KubernetesError)) throw error
    throw new AuthorityError('Unavailable', `${error.code}: ${error.message}`, { cause: error })
  }
}
