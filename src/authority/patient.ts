/**
 * An authority that may be away when the server starts: an HSM that boots, a Vault that is sealed.
 *
 * Decides that what is wrong with the settings ends the start, and what may pass by itself does not: pods are told to
 * come again until the authority is there. Nor does what must not be tried again and again, as processes that end are.
 * Ever more seldom it tries what goes on failing: a try may be a login, of which some are good for so many and no more.
 */
import { type Authority, AuthorityError, type KeyProtection } from './authority.ts'

const unknownAnchor = { anchorSha256: '', anchorKeySha256: '' }

export interface Patience {
  open: () => Promise<Authority>
  kind: string
  namesFrom: Authority['namesFrom']
  /** By what it seals, where it does: what is not sealed is not to be taken for good before it is there. */
  protectionKind?: string | undefined
  /** After the first try that failed, and for a dozen of them where nobody has said no. */
  retryMs: number
  /** Asked after a try that failed: whether the process may end and be started anew with the same settings. */
  mayEnd?: () => boolean
  /** Told of every try that failed. */
  onFault: (error: AuthorityError) => void
}

/** An issuer that is being set up, an HSM that boots: what passes by itself mostly does in the first minute. */
const triesOfOnePause = 12
const longestPauseMs = 30_000
/** What a person has to put right. */
const longestPauseAfterNoMs = 5 * 60_000

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
  /** Tries that failed. */
  const count = { unanswered: 0, refused: 0 }
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
    }, nextPauseMs())
    timer.unref()
  }

  function nextPauseMs(): number {
    if (fault.code === 'Unavailable') {
      const doublings = Math.max(0, ++count.unanswered - triesOfOnePause)
      return Math.min(retryMs * 2 ** doublings, longestPauseMs)
    }
    return Math.min(retryMs * 2 ** count.refused++, longestPauseAfterNoMs)
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
