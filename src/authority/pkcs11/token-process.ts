/**
 * The key in the token, asked in a process of its own: a library that is slow, hangs or breaks holds up nobody but those who
 * wait for a signature.
 *
 * Decides when that process is given up and another one begins. In threads it would not do: the library's calls are
 * blocking, Node's own threads are few, and one that hangs cannot be ended.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { AuthorityError } from '../authority.ts'
import type { RefusedPin } from '../refused-pin.ts'
import type { Answer, Beginning, HostSettings, Question, Work } from './token-host.ts'
import type { TokenKey } from './token-key.ts'

declare const RAYGUARD_TOKEN_HOST: string

/** A file beside this one; the bundle has another name for it. */
const hostBeside = new URL(
  typeof RAYGUARD_TOKEN_HOST === 'string' ? RAYGUARD_TOKEN_HOST : './token-host.ts',
  import.meta.url
)

/** What the process is given beyond the time for one answer, so that its own, better ones arrive. */
const graceMs = 1_000

/**
 * Begins with the first question. `refusedPin` is kept up to date, for the processes after this one. `file`: what it runs, if
 * it is not the file that belongs to this one.
 */
export function createTokenProcess(
  settings: HostSettings,
  refusedPin: RefusedPin,
  file = hostBeside
): TokenKey {
  const { timeoutMs, pauseMs } = settings
  let host: Host | undefined
  let pause: NodeJS.Timeout | undefined
  /** Of the last signature. */
  let signedAt = 0
  let closed = false

  return {
    async connect() {
      const { warnings = [] } = await asked({ kind: 'connect' })
      return warnings
    },
    async sign(signing, message) {
      const { value = new Uint8Array() } = await asked({ kind: 'sign', signing, message })
      signedAt = performance.now()
      return value
    },
    async close() {
      closed = true
      clearTimeout(pause)
      await host?.ask({ kind: 'close' }).catch(() => {})
      await host?.end()
    }
  }

  async function asked(work: Work): Promise<Answer> {
    const at = performance.now()
    const asking = running()
    try {
      return await asking.ask(work)
    } catch (error) {
      // Some sessions may hang while others sign: then it goes on.
      if (performance.now() - at >= timeoutMs && signedAt < at) void asking.end()
      throw error
    }
  }

  function running(): Host {
    if (closed) throw new AuthorityError('Unavailable', 'The token is closed.')
    if (pause !== undefined) throw ended()
    host ??= startHost(startProcess(file, { settings, refusedPin }), {
      waitMs: timeoutMs + graceMs,
      onAnswer({ refusedDigest }) {
        refusedPin.digest = refusedDigest
      },
      onEnd() {
        host = undefined
        pause = setTimeout(() => {
          pause = undefined
        }, pauseMs).unref()
      }
    })
    return host
  }
}

interface Host {
  /** Throws AuthorityError. */
  ask(work: Work): Promise<Answer>
  end(): Promise<void>
}

interface HostWatcher {
  waitMs: number
  onAnswer(answer: Answer): void
  onEnd(): void
}

interface Asker {
  settle(answer: Answer): void
  refuse(error: AuthorityError): void
}

function startHost(child: ChildProcess, { waitMs, onAnswer, onEnd }: HostWatcher): Host {
  const askers = new Map<number, Asker>()
  let lastId = 0
  let over = false
  child.on('message', (answer: Answer) => {
    const { id, fault } = answer
    onAnswer(answer)
    const asker = askers.get(id)
    if (fault === undefined) asker?.settle(answer)
    else asker?.refuse(new AuthorityError(fault.code, fault.message))
  })
  const whenEnded = new Promise(resolve => {
    child.on('exit', resolve)
    // It could not be started.
    child.on('error', resolve)
  }).then(() => {
    over = true
    for (const { refuse } of askers.values()) refuse(ended())
    onEnd()
  })

  return {
    ask: work =>
      new Promise((resolve, reject) => {
        if (over) return reject(ended())
        lastId += 1
        const id = lastId
        const settled = () => {
          clearTimeout(timer)
          askers.delete(id)
        }
        const asker: Asker = {
          settle(answer) {
            settled()
            resolve(answer)
          },
          refuse(error) {
            settled()
            reject(error)
          }
        }
        const timer = setTimeout(
          () => asker.refuse(new AuthorityError('Unavailable', 'The token has not answered.')),
          waitMs
        )
        askers.set(id, asker)
        // A channel that breaks is the end of the process, which is seen.
        child.send({ id, work } satisfies Question, () => {})
      }),
    async end() {
      child.ref()
      child.kill('SIGKILL')
      await whenEnded
    }
  }
}

function startProcess(file: URL, beginning: Beginning): ChildProcess {
  const child = fork(fileURLToPath(file), [], {
    // Each session holds a thread while the HSM works; the PIN's file is read in another one.
    // biome-ignore lint/style/noProcessEnv: the library's own variables, passed on unread
    env: { ...process.env, UV_THREADPOOL_SIZE: String(beginning.settings.sessions + 1) },
    execArgv: [],
    serialization: 'advanced',
    // What a library prints is no log line.
    stdio: ['ignore', 2, 2, 'ipc']
  })
  // Who waits for an answer keeps this process alive, by the time set for it.
  child.unref()
  // Not as arguments, which others on the machine can read.
  child.send(beginning, () => {})
  child.channel?.unref()
  return child
}

function ended(): AuthorityError {
  return new AuthorityError(
    'Unavailable',
    'The process of the PKCS#11 library has ended; another one begins.'
  )
}
