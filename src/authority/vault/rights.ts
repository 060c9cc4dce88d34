/**
 * What the policies of our token allow, before it is needed
 * (https://developer.hashicorp.com/vault/api-docs/system/capabilities-self).
 */
import { AuthorityError } from '../authority.ts'
import type { Session } from './session.ts'

/** Why a POST there would be denied. `undefined` where it would not, or where Vault does not tell. */
export async function denial(session: Session, path: string): Promise<string | undefined> {
  let answer: Record<string, unknown>
  try {
    answer = await session.post('sys/capabilities-self', { paths: [path] })
  } catch (error) {
    // Without the policy `default` not even this may be asked.
    if (error instanceof AuthorityError && error.code === 'Refused') return undefined
    throw error
  }
  const found = ((answer.data ?? {}) as Record<string, unknown>)[path]
  if (!Array.isArray(found) || found.includes('update') || found.includes('root')) return undefined
  return `the policy of Vault’s token does not allow update on ${path}`
}
