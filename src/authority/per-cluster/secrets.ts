/**
 * The Secrets of Rayguard's own namespace that hold the CAs of Ray clusters.
 *
 * No leader: a write carries the version that it is based on, and who comes second reads again and decides anew, so that
 * of two replicas that make a CA for the same RayCluster one wins and the other uses what it made.
 */
import type { Client } from '../../kubernetes/client.ts'
import { KubernetesError } from '../../kubernetes/error.ts'
import type { Secret } from '../../kubernetes/objects.ts'
import { path } from '../../kubernetes/path.ts'
import { AuthorityError } from '../authority.ts'
import {
  type Entry,
  entryIn,
  entrySecrets,
  type Found,
  holdsCa,
  isFull,
  ownCasIn,
  recordSecret,
  type SecretData,
  secretOf,
  takesPlace,
  withEntry,
  withoutEntry
} from './entries.ts'

export type Decide = (found: Found, place: Place) => Promise<Entry | 'keep' | 'remove'>

export interface Place {
  secret: string
  /** The Secret itself is there, whatever is in it. */
  exists: boolean
  /** Its UID: one that is deleted and made anew has another. */
  uid: string | undefined
  /** The UIDs of the namespace's RayClusters that have a CA of their own, in the version that is written over. */
  ownCas(): string[]
}

/** What stands in a Secret, and the UID of that: `undefined` where there is none. */
export interface Stands {
  found: Found
  seenIn: string | undefined
}

export interface ClusterSecrets {
  /** Reads, lets `decide`, writes; `decide` is asked again where somebody else was first. */
  change(rayCluster: Pick<Entry, 'namespace' | 'uid'>, decide: Decide): Promise<Stands>
  /** All Secrets, one after the other. `data` is undefined where there is none. */
  all(): AsyncGenerator<{ secret: string; uid: string | undefined; data: SecretData | undefined }>
  /** Whether there is anything in any of them. */
  hold(): Promise<boolean>
  /** Whether there is a CA in any of them, or what may have been one. */
  holdCas(): Promise<boolean>
  /** The Secret that says since when which setting holds; empty where there is none. */
  record(): Promise<SecretData>
  /** As `change`, of that Secret. */
  changeRecord(decide: (data: SecretData) => Promise<SecretData | 'keep'>): Promise<SecretData>
}

/** It was deleted since an entry was `seenIn` it, so that what it lacks nobody has taken out. */
export function isMadeAnew({ exists, uid }: Place, seenIn: string | undefined): boolean {
  return !exists || (seenIn !== undefined && seenIn !== uid)
}

interface Written {
  data: SecretData
  /** Of the Secret. */
  uid: string | undefined
}

/** Each that is in vain was another's success, so this many say that there are very many others. */
const attempts = 32

/** Its methods throw KubernetesError, and AuthorityError `Exhausted` where a Secret is full. */
export function createClusterSecrets(client: Client, namespace: string): ClusterSecrets {
  const collection = path`/api/v1/namespaces/${namespace}/secrets`
  /** The last write to each Secret: those of this process follow each other instead of colliding. */
  const last = new Map<string, Promise<unknown>>()

  return {
    async change({ namespace, uid }, decide) {
      const secret = secretOf(namespace)
      const stands = await inTurn(secret, async (current, found) => {
        const place: Place = {
          secret,
          exists: found !== undefined,
          uid: found?.metadata.uid,
          ownCas: () => ownCasIn(current, namespace)
        }
        const before = entryIn(current, uid)
        const wanted = await decide(before, place)
        if (wanted === 'keep') return 'keep'
        if (wanted === 'remove') return withoutEntry(current, uid)
        const next = withEntry(current, wanted)
        if (isFull(next) && takesPlace(before, wanted)) throw full(secret, current)
        return next
      })
      return { found: entryIn(stands.data, uid), seenIn: stands.uid }
    },
    all,
    async hold() {
      for await (const { data } of all()) if (Object.keys(data ?? {}).length > 0) return true
      return false
    },
    async holdCas() {
      for await (const { data = {} } of all()) if (holdsCa(data)) return true
      return false
    },
    record: async () => dataOf(await read(recordSecret)) ?? {},
    changeRecord: async decide => (await inTurn(recordSecret, decide)).data
  }

  async function* all(): ReturnType<ClusterSecrets['all']> {
    for (const secret of entrySecrets) {
      const found = await read(secret)
      yield { secret, uid: found?.metadata.uid, data: dataOf(found) }
    }
  }

  function inTurn(
    secret: string,
    decide: (data: SecretData, found: Secret | undefined) => Promise<SecretData | 'keep'>
  ): Promise<Written> {
    const before = last.get(secret) ?? Promise.resolve()
    const mine = before.then(
      () => changed(secret, decide),
      () => changed(secret, decide)
    )
    last.set(secret, mine)
    return mine
  }

  async function changed(
    secret: string,
    decide: (data: SecretData, found: Secret | undefined) => Promise<SecretData | 'keep'>
  ): Promise<Written> {
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      const found = await read(secret)
      const data = dataOf(found) ?? {}
      const next = await decide(data, found)
      if (next === 'keep') return { data, uid: found?.metadata.uid }
      const written = await write(secret, found, next)
      if (written !== undefined) return { data: next, uid: written.metadata.uid }
    }
    throw new KubernetesError(
      'Conflict',
      `The Secret ${namespace}/${secret} was changed by others ${attempts} times in a row.`
    )
  }

  function read(secret: string): Promise<Secret | undefined> {
    return client.get<Secret>(path`/api/v1/namespaces/${namespace}/secrets/${secret}`)
  }

  /** `undefined`: somebody else was first. */
  async function write(
    name: string,
    found: Secret | undefined,
    data: SecretData
  ): Promise<Secret | undefined> {
    const metadata = found?.metadata ?? { name, namespace, labels }
    const body = { ...found, apiVersion: 'v1', kind: 'Secret', metadata, data }
    try {
      return found === undefined
        ? await client.create<Secret>(collection, { ...body, type: 'Opaque' })
        : await client.replace<Secret>(path`/api/v1/namespaces/${namespace}/secrets/${name}`, body)
    } catch (error) {
      if (error instanceof KubernetesError && isRace(error, found)) return undefined
      throw error
    }
  }
}

const labels = {
  'app.kubernetes.io/name': 'rayguard',
  'app.kubernetes.io/component': 'enrollment'
}

function dataOf(found: Secret | undefined): SecretData | undefined {
  return found && (found.data ?? {})
}

/** `NotFound` of what was there: it was deleted between our reading and our writing. Else it is the namespace that is gone. */
function isRace({ code }: KubernetesError, found: Secret | undefined): boolean {
  return code === 'Conflict' || (code === 'NotFound' && found !== undefined)
}

function full(secret: string, data: SecretData): AuthorityError {
  return new AuthorityError(
    'Exhausted',
    `The Secret ${secret} is full: it holds ${Object.keys(data).length} RayClusters, of all namespaces that share it. ` +
      'Those that run go on. Delete RayClusters there, whose places are free ten minutes later, or run new ones in a namespace of another of these Secrets (docs/trust.md).'
  )
}
