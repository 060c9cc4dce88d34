import { AuthorityError, type KeyProtection } from './authority.ts'

/** `unbound`: what was sealed under one context opens under another. Throws {@link AuthorityError}. */
export async function tryProtection(
  protection: KeyProtection
): Promise<'good' | 'lost' | 'unbound'> {
  const plain = Buffer.from('rayguard: what is sealed opens again')
  const sealed = await protection.seal(plain, 'one')
  if (!plain.equals(await protection.open(sealed, 'one'))) return 'lost'
  // Attack: what was sealed for one Ray cluster, put in the place of another's.
  const astray = await protection.open(sealed, 'another').catch((error: unknown) => {
    if (error instanceof AuthorityError && error.code === 'Refused') return undefined
    throw error
  })
  return astray === undefined ? 'good' : 'unbound'
}
