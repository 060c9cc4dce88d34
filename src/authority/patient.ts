/**
 * An authority that may be away when the server starts: an HSM that boots, a Vault that is sealed.
 *
 * Decides that what is wrong with the settings ends the start, and what may pass by itself does not: pods are told to
 * come again until the authority is there. Nor does what must not be tried again and again, as processes that end are.
 */
import { type Authority, AuthorityError, type KeyProtection } from './authority.ts'

const unknownAnchor = { anchorSha256: '', anchorKeySha256: '' }

export interface Patience {
  open: () => Promise<Authority>
  kind: string
  namesFrom: Authority['namesFrom']
  /** By what it seals, where it does: what is not sealed is not to be taken for good before it is there. */
  protectionKind?: string | undefined
  retryMs: number
  /** Asked after a try that failed: whether the process may end and be started anew with the same settings. */
  mayEnd?: () => boolean
  /** Told of every try that failed. */
  onFault: (error: AuthorityError) => void
}

/** Throws AuthorityError `Invalid` when the first try finds that and the process may end. */
export async function openPatiently(patience: Patience): Promise<Authority> {
  const { open, kind, namesFrom, retryMs, mayEnd = () => true, onFault } = patience
  let fault: AuthorityError
  try {
    return await open()
  } catch (error) {
    if (!(error instanceof AuthorityError)) throw error
    if (error.code === 'Invalid' && mayEnd()) throw error
    fault = error
    onFault(fault)
  }
  let found: Authority | undefined
  let closed = false
  let timer: NodeJS.Timeout | undefined
  let trying: Promise<void> = Promise.resolve()
  const absent = async () => {
    throw new AuthorityError('Unavailable', fault.message, { cause: fault })
  }
  const away: KeyProtection | undefined =
    patience.protectionKind === undefined
      ? undefined
      : { kind: patience.protectionKind, seal: absent, open: absent }
  schedule()

  return {
    namesFrom,
    async issue(request) {
      return found === undefined ? await absent() : await found.issue(request)
    },
    describe: () =>
      found?.describe() ?? { kind, subject: '', notAfter: new Date(0), ...unknownAnchor },
    // Asked each time: they come with the authority.
    get intermediates() {
      return found?.intermediates
    },
    get protection() {
      return found === undefined ? away : found.protection
    },
    problem: () => (found === undefined ? `is not there yet: ${fault.message}` : found.problem?.()),
    async close() {
      closed = true
      clearTimeout(timer)
      await trying
      await found?.close()
    }
  }

  function schedule(): void {
    if (closed) return
    timer = setTimeout(() => {
      trying = again().finally(() => {
        if (found === undefined) schedule()
      })
    }, retryMs)
    timer.unref()
  }

  async function again(): Promise<void> {
    try {
      found = await open()
    } catch (error) {
      // Settings that were wrong all along may be seen only now: the process goes on, and says so.
      fault =
        error instanceof AuthorityError
          ? error
          : new AuthorityError('Unavailable', 'A fault inside.', { cause: error })
      onFault(fault)
    }
  }
}
