import { AuthorityError } from '../authority.ts'
import { readTextFile } from '../pem-files.ts'

/** Not the text itself in any message. Throws AuthorityError `Invalid`. */
export async function readPin(file: string): Promise<string> {
  const pin = (await readTextFile(file)).replace(/\r?\n$/, '')
  if (pin !== '') return pin
  throw new AuthorityError('Invalid', `The file ${file} is empty; the user’s PIN was expected.`)
}
