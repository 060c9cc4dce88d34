/** JSON Pointers (RFC 6901). Members of a pod may hold any character: a label key has `/`, an odd one `~` or nothing. */

export type Path = readonly (string | number)[]

export function pointer(path: Path): string {
  let text = ''
  for (const part of path) text += `/${typeof part === 'number' ? part : escapeMember(part)}`
  return text
}

/** `~` first: the other order would escape the tilde of `~1` again (RFC 6901 §3). */
function escapeMember(member: string): string {
  if (!member.includes('/') && !member.includes('~')) return member
  return member.replaceAll('~', '~0').replaceAll('/', '~1')
}
