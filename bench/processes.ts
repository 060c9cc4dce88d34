/**
 * Runs a part of the bench as a process of its own, so that what is measured shares its event loop with nothing else.
 *
 * A child answers calls by name over the channel of `fork`; the parent's end of the channel is the child's end.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface Remote {
  readonly pid: number
  call<T>(name: string, argument?: unknown): Promise<T>
  close(): Promise<void>
}

interface Question {
  id: number
  name: string
  argument: unknown
}

interface Reply {
  id: number
  value?: unknown
  error?: string
}

/** `name`: a file of `bench/processes/`. */
export function startProcess(name: string): Remote {
  const child: ChildProcess = fork(fileURLToPath(import.meta.resolve(`./processes/${name}.js`)), {
    serialization: 'advanced'
  })
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  let lastId = 0
  child.on('message', (message: Reply) => {
    const asked = waiting.get(message.id)
    waiting.delete(message.id)
    if (message.error === undefined) asked?.resolve(message.value)
    else asked?.reject(new Error(`${name}: ${message.error}`))
  })
  child.once('exit', code => {
    for (const { reject } of waiting.values()) reject(new Error(`${name} ended with ${code}`))
  })
  return {
    pid: child.pid ?? 0,
    call: <T>(called: string, argument?: unknown) =>
      new Promise<T>((resolve, reject) => {
        lastId += 1
        waiting.set(lastId, { resolve: value => resolve(value as T), reject })
        child.send({ id: lastId, name: called, argument } satisfies Question)
      }),
    async close() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, 'exit')
      child.disconnect()
      await ended
    }
  }
}

type Handlers = Record<string, (argument: never) => unknown>

/** The child's side. */
export function serveParent(handlers: Handlers): void {
  process.on('message', (question: Question) => {
    answer(handlers, question).then(
      value => process.send?.({ id: question.id, value } satisfies Reply),
      error => process.send?.({ id: question.id, error: String(error?.stack) } satisfies Reply)
    )
  })
  process.on('disconnect', () => process.exit(0))
}

async function answer(handlers: Handlers, { name, argument }: Question): Promise<unknown> {
  return await handlers[name]?.(argument as never)
}
