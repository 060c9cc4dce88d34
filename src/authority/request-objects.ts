/**
 * Asks a signer by an object in the Kubernetes API and waits for what it writes there.
 *
 * Decides how an object is found again, how long it is waited for and when it is taken away; never what is asked and
 * whether the answer is good. The name comes from the content, so that a pod that comes again with the same key, perhaps to
 * another replica, finds its own request: where a person approves, a new one each time would never be through.
 */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { createTurns } from '../flow/turns.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { KubernetesObject, ObjectMeta } from '../kubernetes/objects.ts'
import { path } from '../kubernetes/path.ts'
import { createReflector } from '../kubernetes/reflector.ts'
import { AuthorityError, type RayClusterReference } from './authority.ts'
import { type AuthorityOptions, clusterOf } from './options.ts'
import { isUnapproved, keptMs, type Progress } from './request-progress.ts'

/** What is different between the resources. */
export interface RequestKind<O extends KubernetesObject> {
  /** The path of all objects. */
  collection: string
  progress(object: O): Progress
  /** Times at which anything happened to it, RFC 3339. */
  changes(object: O): (string | null | undefined)[]
  /** Whether this program has made it, as far as the API server vouches for that. */
  isOwn(object: O): boolean
  /** Approves by this program's own identity what says `sent` and nothing beside; absent where others do that. */
  approve?: ((object: O, sent: ObjectMeta) => Promise<void>) | undefined
}

export interface WantedRequest<O extends KubernetesObject> {
  /** All that makes this request this one; the same again finds the same object. */
  identity: readonly string[]
  /** Whose it is, for people who look at the object; `undefined`: for no pod. */
  rayCluster: RayClusterReference | undefined
  /** The object, but for its metadata. */
  object: Omit<O, 'metadata'>
  /** Whether an object that is there already asks for exactly this; `sent` is what we would write ourselves. */
  isSame(found: O, sent: ObjectMeta): boolean
}

/** Of whoever cannot come again soon: how long is waited, whether it is approved or not. */
export interface Patience {
  waitMs: number
  signal: AbortSignal
}

export interface RequestDesk<O extends KubernetesObject> {
  /** Throws {@link AuthorityError}. */
  ask(wanted: WantedRequest<O>, patience?: Patience): Promise<Progress & { state: 'issued' }>
  /** Takes away what was asked for, behind the caller. */
  withdraw(wanted: WantedRequest<O>): void
  close(): Promise<void>
}

const ownerLabel = 'rayguard.dev/requested-by'
const clusterAnnotation = 'rayguard.dev/ray-cluster'
/** The agent waits 30 s for an answer, and comes again. */
const defaultWaitMs = 10_000
/** A program that approves needs a moment. Pods that wait for a person must not take the places of those that could be served. */
const defaultApprovalMs = 2_000
const sweepEveryMs = 60_000
const approvals = 3
/** A part of what the client may have at work, which enrollments need. */
const removalsAtOnce = 16
const closingMs = 5_000

interface Seen {
  name: string
  changedAt: number
  progress: Progress
}

export function createRequestDesk<O extends KubernetesObject>(
  kind: RequestKind<O>,
  options: AuthorityOptions
): RequestDesk<O> {
  const access = clusterOf(options)
  const { client, namespace } = access
  // More than enrollment has at work would only be more that the API server holds at one time.
  const turns = createTurns({ atOnce: 64, waiting: 500, waitMs: 5_000 })
  const waitMs = access.waitMs ?? defaultWaitMs
  const approvalMs = Math.min(waitMs, access.approvalMs ?? defaultApprovalMs)
  const inUse = new Set<string>()
  const removals = new Set<Promise<void>>()
  const watch = createReflector<O, Seen>({
    client,
    path: kind.collection,
    query: { labelSelector: `${ownerLabel}=${namespace}` },
    project: object =>
      isNamedAsOurs(object) && kind.isOwn(object) ? seen(kind, object) : undefined,
    random: access.fraction,
    clock: access.steadyClock,
    ...(access.onFault === undefined ? {} : { onFault: access.onFault })
  })
  const sweeper = setInterval(sweep, access.sweepEveryMs ?? sweepEveryMs)
  sweeper.unref()
  watch.start()

  return {
    async ask(wanted, patience) {
      const place = turns.place()
      if (!(await place.enter())) {
        throw new AuthorityError('Unavailable', 'Too many requests wait for the signer.')
      }
      const name = nameOf(wanted)
      inUse.add(name)
      try {
        return await answerTo(wanted, name, patience)
      } catch (error) {
        throw faultOf(error)
      } finally {
        inUse.delete(name)
        place.leave()
      }
    },
    withdraw: wanted => remove(nameOf(wanted)),
    async close() {
      clearInterval(sweeper)
      await watch.stop()
      await Promise.race([Promise.all(removals), sleep(closingMs, undefined, { ref: false })])
    }
  }

  async function answerTo(
    wanted: WantedRequest<O>,
    name: string,
    patience: Patience | undefined
  ): Promise<Progress & { state: 'issued' }> {
    const object = await approved(await createdOrFound(wanted, name), wanted)
    const startedAt = access.steadyClock()
    const progress = await finished(object, patience)
    if (progress.state === 'issued') {
      remove(name)
      return progress
    }
    if (progress.state === 'refused') {
      // An authority that is tried anew again and again has no sweep that would come to it.
      if (isOver(seen(kind, object))) remove(name)
      throw progress.failed
        ? new AuthorityError('Unavailable', `The request ${name} has failed: ${progress.reason}`)
        : new AuthorityError('Denied', `The request ${name} was denied: ${progress.reason}`)
    }
    throw new AuthorityError(
      'Unavailable',
      `The request ${name} has no certificate after ${Math.round((access.steadyClock() - startedAt) / 1000)} s: ${progress.reason}`
    )
  }

  async function createdOrFound(wanted: WantedRequest<O>, name: string): Promise<O> {
    try {
      const metadata = metadataOf(wanted, name)
      return await client.create<O>(kind.collection, { ...wanted.object, metadata })
    } catch (error) {
      if (!(error instanceof KubernetesError) || error.code !== 'Conflict') throw error
    }
    return found(wanted, name)
  }

  function metadataOf({ rayCluster: of }: WantedRequest<O>, name: string): ObjectMeta {
    return {
      name,
      labels: { 'app.kubernetes.io/managed-by': 'rayguard', [ownerLabel]: namespace },
      ...(of && { annotations: { [clusterAnnotation]: `${of.namespace}/${of.name}` } })
    }
  }

  async function found(wanted: WantedRequest<O>, name: string): Promise<O> {
    const object = await client.get<O>(pathOf(name))
    if (object === undefined) {
      throw new AuthorityError('Unavailable', `The request ${name} has just been taken away.`)
    }
    // Attack: whoever may create such objects knows the name of his own pod's request, puts one there that asks for the
    // names of others, and has Rayguard approve it.
    const sent = metadataOf(wanted, name)
    if (object.metadata.labels?.[ownerLabel] !== namespace || !wanted.isSame(object, sent)) {
      throw new AuthorityError(
        'Refused',
        `There is an object ${name} that asks for something else than Rayguard would; look who made it, and delete it.`
      )
    }
    return object
  }

  async function approved(object: O, wanted: WantedRequest<O>): Promise<O> {
    if (kind.approve === undefined) return object
    let current = object
    for (let tries = 1; ; tries++) {
      const progress = kind.progress(current)
      if (progress.state !== 'pending' || progress.approved) return current
      try {
        await kind.approve(current, metadataOf(wanted, current.metadata.name ?? ''))
        return current
      } catch (error) {
        // Somebody else has changed it meanwhile, such as a controller that adds an annotation.
        const again = error instanceof KubernetesError && error.code === 'Conflict'
        if (!again || tries === approvals) throw error
        current = await found(wanted, current.metadata.name ?? '')
      }
    }
  }

  async function finished(object: O, patience: Patience | undefined): Promise<Progress> {
    let progress = kind.progress(object)
    if (isUnapproved(progress) && kind.approve === undefined && patience === undefined) {
      await shown(approvalMs, now => !isUnapproved(now))
      if (isUnapproved(progress)) return await atLast()
    }
    if (progress.state === 'pending')
      await shown(patience?.waitMs ?? waitMs, now => now.state !== 'pending')
    return progress.state === 'pending' ? await atLast() : progress

    /** By the watch. Absent: it has not shown the object yet, or that is gone; the API itself is asked in the end. */
    async function shown(timeoutMs: number, until: (now: Progress) => boolean): Promise<void> {
      await watch.changed(object.metadata.uid ?? '', {
        timeoutMs,
        ...(patience && { signal: patience.signal }),
        until(now) {
          if (now === undefined || !until(now.progress)) return false
          progress = now.progress
          return true
        }
      })
    }

    async function atLast(): Promise<Progress> {
      const last = await client.get<O>(pathOf(object.metadata.name ?? ''))
      return last === undefined
        ? { state: 'pending', approved: false, reason: 'somebody has deleted it' }
        : kind.progress(last)
    }
  }

  function nameOf({ identity }: WantedRequest<O>): string {
    const all = JSON.stringify([namespace, ...identity])
    return `rayguard-${createHash('sha256').update(all).digest('hex').slice(0, 40)}`
  }

  /** Attack: names of such objects may hold `?` and `#`, and who asks for one of them would mean another. */
  function pathOf(name: string): string {
    return `${kind.collection}${path`/${name}`}`
  }

  /** Behind the answer; what fails here is found by the sweep. */
  function remove(name: string): void {
    const removal = client
      .remove(pathOf(name))
      .catch((error: unknown) => access.onFault?.(error))
      .finally(() => removals.delete(removal))
    removals.add(removal)
  }

  function sweep(): void {
    for (const each of watch.values()) {
      if (removals.size >= removalsAtOnce) return
      if (isOver(each) && !inUse.has(each.name)) remove(each.name)
    }
  }

  function isOver({ changedAt, progress }: Seen): boolean {
    return options.clock() - changedAt > keptMs(progress)
  }
}

/** Whatever its labels say, which anybody may write. */
function isNamedAsOurs({ metadata }: KubernetesObject): boolean {
  return /^rayguard-[0-9a-f]{40}$/.test(metadata.name ?? '')
}

function seen<O extends KubernetesObject>(kind: RequestKind<O>, object: O): Seen {
  const times = [object.metadata.creationTimestamp, ...kind.changes(object)]
    .map(time => Date.parse(time ?? ''))
    .filter(time => !Number.isNaN(time))
  return {
    name: object.metadata.name ?? '',
    changedAt: Math.max(0, ...times),
    progress: kind.progress(object)
  }
}

/** Of a call to the API. Throws what is none. */
export function faultOf(error: unknown): AuthorityError {
  if (error instanceof AuthorityError) return error
  if (!(error instanceof KubernetesError)) throw error
  // 422: the API server, or a policy, takes no such object.
  const code = error.code === 'Invalid' ? 'Refused' : 'Unavailable'
  return new AuthorityError(code, `${error.code}: ${error.message}`, { cause: error })
}
