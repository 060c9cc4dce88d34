/**
 * Keeps one serving Secret: all replicas look at it, and whoever finds something due does it.
 *
 * No leader: a write carries the version that it is based on, and who comes second reads again (the API's own
 * optimistic concurrency). Decides when a pair is handed to the listener: not before its CA is announced.
 */
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { Secret } from '../kubernetes/objects.ts'
import { path } from '../kubernetes/path.ts'
import type { ServingPair } from '../server/tls.ts'
import { advance } from './advance.ts'
import { nextStep, type Step } from './plan.ts'
import type { Profile } from './profile.ts'
import { bundleOf, pairOf, readState, type ServingState, writeState } from './state.ts'

/** Tells the clients which CAs to trust. */
export interface Announcer {
  /** Sees to it that `bundle` (PEM) stands where clients look. Throws KubernetesError. */
  ensure(bundle: string): Promise<void>
  /** Whether clients trust the CA (PEM); undefined where that is not known. */
  trusts(anchor: string): boolean | undefined
}

export type KeeperProblem =
  | 'ApiUnavailable'
  | 'Forbidden'
  | 'Refused'
  | 'SecretUnusable'
  | 'NotAnnounced'

export interface KeeperOptions {
  profile: Profile
  client: Client
  announcer: Announcer
  /** Milliseconds since the epoch, as the API server counts them. */
  clock: () => number
  random: (size: number) => Uint8Array
  everyMs: number
  use(pair: ServingPair): void
  onUsed(dates: ServingDates): void
  /** Something was written. `repaired`: what was wrong with the Secret before. */
  onStep(step: Step | 'repair', repaired: readonly string[]): void
  /** Once for each, and again when it has been away. */
  onProblem(code: KeeperProblem, message: string, error?: unknown): void
}

export interface ServingDates {
  leafEnds: Date
  authorityEnds: Date | undefined
}

export interface Keeper {
  /** Looks once, and does what is due. Never throws. */
  look(): Promise<void>
  start(): void
  stop(): Promise<void>
  /** Settled with the first pair. */
  readonly whenUsable: Promise<void>
  /** Why the listener should not be sent anything; undefined while it has a valid pair. */
  unusable(): string | undefined
  /** What a person should look at. */
  problem(): { code: KeeperProblem; message: string } | undefined
}

const attempts = 8
const firstLooksMs = 1_000

export function createKeeper(options: KeeperOptions): Keeper {
  const { profile, client, announcer, clock } = options
  const secretPath = path`/api/v1/namespaces/${profile.namespace}/secrets/${profile.secret}`
  const place = `Secret ${profile.namespace}/${profile.secret}`
  /** The last content that was whole: what a lost Secret is brought back from. */
  let remembered: ServingState | undefined
  let used: { chain: string; notAfter: Date; notBefore: Date } | undefined
  let problem: { code: KeeperProblem; message: string } | undefined
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let stopped = false
  let usable = () => {}
  const whenUsable = new Promise<void>(resolve => {
    usable = resolve
  })

  return {
    look,
    start: again,
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
    whenUsable,
    unusable() {
      if (used === undefined) {
        return `there is no server certificate yet: ${problem?.message ?? `${place} was not looked at`}`
      }
      const now = clock()
      if (used.notAfter.getTime() <= now) {
        return `the server certificate ended at ${used.notAfter.toISOString()}`
      }
      return used.notBefore.getTime() > now
        ? `the server certificate begins at ${used.notBefore.toISOString()}; is the clock right?`
        : undefined
    },
    problem: () => problem
  }

  function again(): void {
    running = look().then(() => {
      if (stopped) return
      timer = setTimeout(again, used ? options.everyMs : Math.min(options.everyMs, firstLooksMs))
      timer.unref()
    })
  }

  async function look(): Promise<void> {
    const found = await tended().catch((error: unknown) => ({
      code: codeOf(error),
      message: error instanceof Error ? error.message : String(error),
      error
    }))
    if (
      found !== undefined &&
      `${found.code} ${found.message}` !== `${problem?.code} ${problem?.message}`
    ) {
      options.onProblem(found.code, found.message, 'error' in found ? found.error : undefined)
    }
    problem = found && { code: found.code, message: found.message }
  }

  async function tended(): Promise<{ code: KeeperProblem; message: string } | undefined> {
    const { state, problems } = await agreed()
    let failed: unknown
    if (state.anchor !== undefined) {
      // What was announced before still is: a pair can be used although this could not be asked.
      await announcer.ensure(bundleOf(state)).catch(error => {
        failed = error
      })
    }
    const { leaf, anchor } = state
    if (leaf !== undefined && leaf.chain !== used?.chain) {
      if (anchor !== undefined && announcer.trusts(anchor.pem) === false) {
        const why = failed instanceof Error ? `: ${failed.message}` : ''
        return {
          code: 'NotAnnounced',
          message: `the server certificate in ${place} is not used, its CA is not announced${why}`
        }
      }
      options.use(pairOf(leaf))
      const { notAfter, notBefore } = leaf.certificate
      used = { chain: leaf.chain, notAfter, notBefore }
      options.onUsed({ leafEnds: notAfter, authorityEnds: anchor?.certificate.notAfter })
      usable()
    }
    if (failed !== undefined) throw failed
    return problems.length === 0
      ? undefined
      : { code: 'SecretUnusable', message: `${place}: ${problems.join('; ')}. ${advice(profile)}` }
  }

  /** The content that all replicas agree on, with everything done that was due. */
  async function agreed(): Promise<{ state: ServingState; problems: readonly string[] }> {
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      const found = await client.get<Secret>(secretPath)
      const { state, problems } = readState(found?.data ?? {})
      // An empty Secret, as some tools make it beforehand, is as good as none.
      const blank = Object.keys(found?.data ?? {}).length === 0
      if (remembered !== undefined && problems.length > 0) {
        if (await write(found, remembered)) options.onStep('repair', problems)
        continue
      }
      const now = clock()
      const nextAnnounced = await isNextAnnounced(state)
      const step = nextStep({ state, blank, profile, now, nextAnnounced })
      if (step === 'keep' || (step === 'lost' && !profile.startsOver)) {
        if (problems.length === 0) remembered = state
        return { state, problems }
      }
      const next = await advance(step, state, { profile, now, random: options.random })
      if (await write(found, next)) options.onStep(step, step === 'begin' ? [] : problems)
    }
    throw new KubernetesError(
      'Conflict',
      `${place} was changed by others ${attempts} times in a row.`
    )
  }

  /** Asked anew each time: what was announced an hour ago may have been edited since. */
  async function isNextAnnounced(state: ServingState): Promise<boolean> {
    if (state.next === undefined || state.anchor === undefined) return false
    try {
      await announcer.ensure(bundleOf(state))
    } catch {
      // The same call is made again below, and its fault told there.
      return false
    }
    return announcer.trusts(state.next.pem) === true
  }

  /** False: somebody else was first. */
  async function write(found: Secret | undefined, state: ServingState): Promise<boolean> {
    const metadata = found?.metadata ?? {
      name: profile.secret,
      namespace: profile.namespace,
      labels: {
        'app.kubernetes.io/name': 'rayguard',
        'app.kubernetes.io/component': profile.component
      }
    }
    const body = { ...found, apiVersion: 'v1', kind: 'Secret', metadata, data: writeState(state) }
    try {
      if (found !== undefined) await client.replace(secretPath, body)
      else {
        const collection = path`/api/v1/namespaces/${profile.namespace}/secrets`
        await client.create(collection, { ...body, type: 'Opaque' })
      }
      return true
    } catch (error) {
      if (error instanceof KubernetesError && isRace(error)) return false
      throw error
    }
  }
}

/** `NotFound`: it was deleted between our reading and our writing. */
function isRace({ code }: KubernetesError): boolean {
  return code === 'Conflict' || code === 'NotFound'
}

function advice({ startsOver, secret }: Profile): string {
  return startsOver
    ? 'The replacement is on its way.'
    : `Bring ${secret} back from a backup, or delete it to begin with a new CA: pods that are running then cannot enroll again.`
}

function codeOf(error: unknown): KeeperProblem {
  switch (error instanceof KubernetesError ? error.code : undefined) {
    case 'Unavailable':
    case 'Throttled':
    case 'Conflict':
      return 'ApiUnavailable'
    case 'Forbidden':
    case 'Unauthorized':
      return 'Forbidden'
    default:
      return 'Refused'
  }
}
