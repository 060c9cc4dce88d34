/**
 * Which setting of `trust` holds, and since when: one word for all replicas, in a Secret.
 *
 * A replica writes its own setting down when it starts. From then on each works by what stands here, whatever its own
 * setting is, so that replicas of both settings treat a RayCluster alike. The word is read anew all the time. Whose
 * setting is another one writes it down again when a settling time has passed, in which case who was written over has
 * either ended or does the same in his turn.
 */
import type { SecretData } from './entries.ts'
import type { ClusterSecrets } from './secrets.ts'

export type TrustSetting = 'perCluster' | 'shared'

export interface TrustRecord {
  trust: TrustSetting
  /** Milliseconds since the epoch; 0: always, nothing is older than it. */
  since: number
  /** With `shared`: no RayCluster has a CA of its own, and nobody makes one. */
  settled: boolean
}

/** What lives of a time that has left no record. */
export interface Past {
  /** Some pod holds a certificate of ours, or a replica that writes no record may just be signing one. */
  signed: boolean
  /** Some pod holds one of a CA that is not the shared one. */
  foreign: boolean
}

export interface RecordOptions {
  secrets: ClusterSecrets
  setting: TrustSetting
  /** Milliseconds since the epoch, by the API server's clock. */
  clock: () => number
  /** Asked only where there is no record. Throws KubernetesError, and AuthorityError while it is not known. */
  past(): Promise<Past>
  /** It is another than before. */
  onChange?(record: TrustRecord): void
}

export interface CurrentRecord {
  /** At most {@link freshMs} old. Throws KubernetesError and AuthorityError. */
  current(): Promise<TrustRecord>
}

/** So long after a change another replica may still sign by what stood there before. Far more than {@link freshMs}. */
export const settlingMs = 5 * 60_000
export const freshMs = 5_000

export function createRecord(options: RecordOptions): CurrentRecord {
  const { secrets, setting, clock } = options
  let known: { record: TrustRecord; readAt: number } | undefined
  let reading: Promise<TrustRecord> | undefined
  let entered = false

  return {
    async current() {
      if (known !== undefined && Math.abs(clock() - known.readAt) <= freshMs) return known.record
      reading ??= read().finally(() => {
        reading = undefined
      })
      return await reading
    }
  }

  async function read(): Promise<TrustRecord> {
    const readAt = clock()
    const found = recordIn(await secrets.record())
    const record = found !== undefined && stands(found) ? found : await enter()
    entered = true
    const before = known?.record
    known = { record, readAt }
    if (before?.trust !== record.trust || before.since !== record.since) options.onChange?.(record)
    return record
  }

  function stands({ trust, since }: TrustRecord): boolean {
    return trust === setting || (entered && clock() < since + settlingMs)
  }

  async function enter(): Promise<TrustRecord> {
    const data = await secrets.changeRecord(async current => {
      const found = recordIn(current)
      if (found?.trust === setting) return 'keep'
      if (found === undefined) return written(await first())
      return written({ trust: setting, since: clock(), settled: false })
    })
    // It has been read, or written, as one.
    return recordIn(data) as TrustRecord
  }

  /** Where the record was lost with or without the rest, what is left tells that there was one. */
  async function first(): Promise<TrustRecord> {
    const { signed, foreign } = await options.past()
    const left = foreign || (await secrets.hold())
    const now = clock()
    return setting === 'perCluster'
      ? { trust: 'perCluster', since: signed || left ? now : 0, settled: false }
      : { trust: 'shared', since: now, settled: !left }
  }
}

/** Unless something else stands there by now, or a Secret holds a CA when it is read for the last time. Throws KubernetesError. */
export async function settle(secrets: ClusterSecrets, record: TrustRecord): Promise<void> {
  await secrets.changeRecord(async data => {
    const found = recordIn(data)
    const isSettling = found?.trust === 'shared' && found.since === record.since && !found.settled
    return isSettling && !(await secrets.holdCas()) ? written({ ...found, settled: true }) : 'keep'
  })
}

export function recordIn(data: SecretData): TrustRecord | undefined {
  const text = (key: string) => Buffer.from(data[key] ?? '', 'base64').toString('utf8')
  const trust = text('trust')
  const since = Date.parse(text('since'))
  if ((trust !== 'perCluster' && trust !== 'shared') || Number.isNaN(since)) return undefined
  return { trust, since, settled: trust === 'shared' && text('settled') === 'yes' }
}

function written({ trust, since, settled }: TrustRecord): SecretData {
  const texts = { trust, since: new Date(since).toISOString(), settled: settled ? 'yes' : 'no' }
  return Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, Buffer.from(text).toString('base64')])
  )
}
