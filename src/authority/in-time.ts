import { AuthorityError } from './authority.ts'

/** The promise's own end, or AuthorityError `Unavailable` where that takes longer; what it waits for goes on. */
export async function inTime<T>(
  promise: Promise<T>,
  timeoutMs: number,
  otherwise: string
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new AuthorityError('Unavailable', otherwise)), timeoutMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
