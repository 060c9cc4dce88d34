/**
 * Answers questions in a thread of their own, one at a time, and ends a thread that takes too long or too much.
 *
 * So no text can hold the event loop of this process, whose admissions go on. Decides nothing about the text.
 */
import { Worker } from 'node:worker_threads'
import { createTurns } from '../flow/turns.ts'
import type { Answer, Question } from './answer.ts'

declare const RAYGUARD_DRY_RUN_THREAD: string

/** A file beside this one; the bundle has another name for it. */
const threadBeside = new URL(
  typeof RAYGUARD_DRY_RUN_THREAD === 'string' ? RAYGUARD_DRY_RUN_THREAD : './thread.ts',
  import.meta.url
)

export interface DryRunWorkerOptions {
  /** What the thread runs, if it is not the file that belongs to this one. */
  file?: URL
  timeLimitMs: number
  memoryLimitMib: number
  /** Who comes when so many wait is sent away. */
  waiting: number
  /** A thread was ended, or has ended, and another one takes its place. */
  onReplaced(ended: Ended): void
}

export interface Ended {
  /** `Fault`: an exception of ours. */
  ended: 'Time' | 'Memory' | 'Fault'
  error: unknown
}

export interface DryRunWorker {
  start(): void
  /** `Overloaded` also where the signal ends the wait. Throws what the thread has thrown. */
  ask(question: Question, signal?: AbortSignal): Promise<Answer | 'TooCostly' | 'Overloaded'>
  /** Why there can be no answers now. */
  problem(): string | undefined
  stop(): Promise<void>
}

/** Before the next try, where a thread did not even begin. */
const retryMs = 5_000

export function createDryRunWorker(options: DryRunWorkerOptions): DryRunWorker {
  const turns = createTurns({ atOnce: 1, waiting: options.waiting })
  let thread: Thread | undefined
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  let problem: string | undefined = 'the thread for dry runs does not run yet'

  return {
    start,
    async ask(question, signal) {
      const place = turns.place(signal)
      if (!(await place.enter())) return 'Overloaded'
      try {
        return await asked(question)
      } finally {
        place.leave()
      }
    },
    problem: () => problem,
    async stop() {
      stopped = true
      clearTimeout(timer)
      await thread?.end()
    }
  }

  function start(): void {
    const begun = () => {
      problem = undefined
    }
    thread = startThread(options, begun, (ended, hadBegun) => {
      if (stopped) return
      options.onReplaced(ended)
      // Attack: who sends one costly text after the other does not make this replica unready; the next one waits.
      if (hadBegun) return start()
      problem = 'the thread for dry runs ends at its start'
      timer = setTimeout(start, retryMs).unref()
    })
  }

  async function asked(question: Question): Promise<Answer | 'TooCostly' | 'Overloaded'> {
    if (thread === undefined) throw new Error('the thread for dry runs was not started')
    const given = await thread.ask(question, options.timeLimitMs)
    if (!('ended' in given)) return given
    if (stopped) return 'Overloaded'
    if (given.ended === 'Fault') throw given.error
    return 'TooCostly'
  }
}

interface Thread {
  ask(question: Question, timeLimitMs: number): Promise<Answer | Ended>
  end(): Promise<void>
}

function startThread(
  { file = threadBeside, memoryLimitMib }: Pick<DryRunWorkerOptions, 'file' | 'memoryLimitMib'>,
  onBegin: () => void,
  onEnd: (ended: Ended, hadBegun: boolean) => void
): Thread {
  const worker = new Worker(file, {
    name: 'dry-run',
    argv: [],
    env: {},
    stdin: false,
    resourceLimits: { maxOldGenerationSizeMb: memoryLimitMib, maxYoungGenerationSizeMb: 32 }
  })
  worker.unref()
  let begun = false
  let outOfTime = false
  let error: unknown
  let ended: Ended | undefined
  let late: Answer | undefined
  let settle: ((given: Answer | Ended) => void) | undefined
  let started = () => {}
  const whenStarted = new Promise<void>(resolve => {
    started = resolve
  })
  worker.on('message', (message: 'ready' | Answer) => {
    if (message === 'ready') {
      begun = true
      onBegin()
      return started()
    }
    // The next question must not reach a thread that is being ended.
    if (outOfTime) late = message
    else settle?.(message)
  })
  // Without a listener it would be an exception of this process.
  worker.on('error', thrown => {
    error = thrown
  })
  worker.on('exit', code => {
    error ??= new Error(`the thread for dry runs ended with ${code}`)
    ended = { ended: outOfTime ? 'Time' : reasonOf(error), error }
    started()
    settle?.(late ?? ended)
    onEnd(ended, begun)
  })

  return {
    async ask(question, timeLimitMs) {
      // Its start is not counted: what is asked is not to blame for it.
      await whenStarted
      if (ended !== undefined) return ended
      return new Promise(resolve => {
        let look: NodeJS.Immediate | undefined
        const timer = setTimeout(() => {
          // Where this loop was late itself, the answer may be here already, behind the timer.
          look = setImmediate(() => {
            outOfTime = true
            void worker.terminate()
          })
        }, timeLimitMs)
        settle = given => {
          clearTimeout(timer)
          clearImmediate(look)
          settle = undefined
          resolve(given)
        }
        worker.postMessage(question)
      })
    },
    async end() {
      await worker.terminate()
    }
  }
}

function reasonOf(error: unknown): Ended['ended'] {
  const { code } = error as { code?: unknown }
  return code === 'ERR_WORKER_OUT_OF_MEMORY' ? 'Memory' : 'Fault'
}
