/**
 * Secrets of a Kubernetes API whose every call waits until the test lets it go on: in whatever order, late, failing before
 * or after it has had its effect. In memory and with a clock of the test's own, because real connections cannot be made to
 * answer in a chosen order.
 */
import { randomUUID } from 'node:crypto'
import { withoutEntry } from '../../src/authority/per-cluster/entries.ts'
import type { Client } from '../../src/kubernetes/client.ts'
import { KubernetesError } from '../../src/kubernetes/error.ts'
import type { Secret } from '../../src/kubernetes/objects.ts'

export interface HeldSecrets {
  client: Client
  /** Of anything else that answers late, or not. */
  ask(effect: () => unknown): Promise<never>
  /** Calls that wait. */
  readonly waiting: number
  /** One step of the call at this place: its effect, then its answer. `fails`: instead of it, or instead of the answer. */
  step(place: number, fails: boolean): void
  /** A call that its sender has given up has its effect all the same. */
  stepAbandoned(place: number): void
  /** When the oldest call that waits is given up by its sender; Infinity where none waits. */
  nextTimeout(): number
  /** Gives up what is due. */
  timeOut(): void
  read(name: string): Secret | undefined
  /** By somebody else, at once: all of it, or one key of it. */
  remove(name: string, key?: string): void
}

interface Call {
  effect(): unknown
  /** The effect has been had, and this is the answer to come. */
  answer?: { value: unknown } | { error: unknown }
  at: number
  resolve(value: unknown): void
  reject(error: unknown): void
}

/** As the client of the program has it. */
const timeoutMs = 10_000

export function createHeldSecrets(clock: () => number): HeldSecrets {
  const stored = new Map<string, Secret>()
  const waiting: Call[] = []
  const abandoned: Call[] = []
  let version = 0

  // As with the client, the caller knows what it gets.
  const ask = (effect: () => unknown): Promise<never> =>
    new Promise((resolve, reject) => {
      waiting.push({ effect, at: clock(), resolve: resolve as Call['resolve'], reject })
    })
  const store = (path: string, secret: Secret): Secret => {
    version += 1
    const metadata = { ...secret.metadata, resourceVersion: String(version) }
    stored.set(path, structuredClone({ ...secret, metadata }))
    return structuredClone({ ...secret, metadata })
  }
  const calls: Pick<Client, 'get' | 'create' | 'replace'> = {
    get: path => ask(() => structuredClone(stored.get(path))),
    create: (collection, body) =>
      ask(() => {
        const secret = body as Secret
        const path = `${collection}/${secret.metadata.name}`
        if (stored.has(path)) throw new KubernetesError('Conflict', 'it exists')
        const metadata = { ...secret.metadata, uid: randomUUID() }
        return store(path, { ...secret, metadata })
      }),
    replace: (path, body) =>
      ask(() => {
        const secret = body as Secret
        const found = stored.get(path)?.metadata.resourceVersion
        if (found === undefined) throw new KubernetesError('NotFound', 'it is gone')
        if (found !== secret.metadata.resourceVersion) {
          throw new KubernetesError('Conflict', 'it was changed')
        }
        return store(path, secret)
      })
  }

  return {
    client: calls as Client,
    ask,
    get waiting() {
      return waiting.length
    },
    step(place, fails) {
      const call = waiting[place % waiting.length]
      if (call === undefined) return
      if (call.answer === undefined && !fails) {
        have(call)
        return
      }
      waiting.splice(waiting.indexOf(call), 1)
      if (fails || call.answer === undefined) call.reject(broken())
      else if ('error' in call.answer) call.reject(call.answer.error)
      else call.resolve(call.answer.value)
    },
    stepAbandoned(place) {
      const [call] = abandoned.splice(place % (abandoned.length || 1), 1)
      if (call !== undefined) have(call)
    },
    nextTimeout: () => Math.min(...waiting.map(({ at }) => at + timeoutMs)),
    timeOut() {
      for (const call of waiting.filter(({ at }) => at + timeoutMs <= clock())) {
        waiting.splice(waiting.indexOf(call), 1)
        if (call.answer === undefined) abandoned.push(call)
        call.reject(broken())
      }
    },
    read: name => [...stored.values()].find(({ metadata }) => metadata.name === name),
    remove(name, key) {
      for (const [path, secret] of stored) {
        if (secret.metadata.name !== name) continue
        if (key === undefined) stored.delete(path)
        else store(path, { ...secret, data: withoutEntry(secret.data ?? {}, key) })
      }
    }
  }
}

function have(call: Call): void {
  try {
    call.answer = { value: call.effect() }
  } catch (error) {
    call.answer = { error }
  }
}

function broken(): KubernetesError {
  return new KubernetesError('Unavailable', 'the connection broke')
}
