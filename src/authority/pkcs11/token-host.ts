/**
 * The process that a PKCS#11 library runs in: answers what token-process.ts asks, and ends with it.
 *
 * An entry of its own: what is not imported from here is not in the process.
 */
import { AuthorityError, type AuthorityErrorCode } from '../authority.ts'
import type { RefusedPin } from '../refused-pin.ts'
import { openLibrary } from './library.ts'
import { readPin } from './pin.ts'
import type { TokenSettings } from './token.ts'
import { createTokenKey, type Signing, type TokenKey, type TokenKeyOptions } from './token-key.ts'

export interface HostSettings
  extends TokenSettings,
    Omit<TokenKeyOptions, 'readPin' | 'refusedPin'> {
  libraryFile: string
  pinFile: string
}

/** The first message. */
export interface Beginning {
  settings: HostSettings
  refusedPin: RefusedPin
}

export type Work =
  | { kind: 'connect' }
  | { kind: 'sign'; signing: Signing; message: Uint8Array }
  /** When what is at work is done. */
  | { kind: 'close' }

export interface Question {
  id: number
  work: Work
}

export interface Answer {
  id: number
  /** Of a signature. */
  value?: Uint8Array | undefined
  /** Of a login. */
  warnings?: string[] | undefined
  /** The PIN that is known to be wrong by now. */
  refusedDigest: string | undefined
  fault?: { code: AuthorityErrorCode; message: string }
}

let opened: Promise<TokenKey> | undefined

process.once('message', (beginning: Beginning) => {
  process.on('message', (question: Question) => void answer(beginning, question))
})
// Not process.exit, which would wait for a library that hangs.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'))
// Whoever ends both at once, as a terminal does: the server signs to the end, so this has to as well.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {})

async function answer(beginning: Beginning, { id, work }: Question): Promise<void> {
  const reply = (rest: Pick<Answer, 'value' | 'warnings' | 'fault'>) =>
    process.send?.({
      ...{ id, refusedDigest: beginning.refusedPin.digest },
      ...rest
    } satisfies Answer)
  try {
    reply(await done(beginning, work))
  } catch (error) {
    // Whatever else is thrown is a fault of ours, and ends the process.
    if (!(error instanceof AuthorityError)) throw error
    reply({ fault: { code: error.code, message: error.message } })
  }
}

async function done(beginning: Beginning, work: Work): Promise<Pick<Answer, 'value' | 'warnings'>> {
  if (work.kind === 'close') {
    await (await opened)?.close()
    return {}
  }
  opened ??= open(beginning)
  const key = await opened
  return work.kind === 'sign'
    ? { value: await key.sign(work.signing, work.message) }
    : { warnings: await key.connect() }
}

async function open({ settings, refusedPin }: Beginning): Promise<TokenKey> {
  try {
    const library = await openLibrary(settings.libraryFile)
    return createTokenKey(library, {
      ...{ ...settings, refusedPin },
      readPin: () => readPin(settings.pinFile)
    })
  } catch (error) {
    opened = undefined
    throw error
  }
}
