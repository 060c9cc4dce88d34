/**
 * Since when there is a CA for each RayCluster: written once, by the first replica that is set so.
 *
 * Where no Ray pod with our TLS ran at that moment there is nothing to wait for, and no cluster counts as one from before.
 */
import type { SecretData } from './entries.ts'
import type { ClusterSecrets } from './secrets.ts'

export interface TrustRecord {
  trust: 'perCluster' | 'shared'
  /** Milliseconds since the epoch. */
  since: number
  /** With `shared`: no RayCluster has a CA of its own any more. */
  settled: boolean
}

export function recordIn(data: SecretData): TrustRecord | undefined {
  const text = (key: string) => Buffer.from(data[key] ?? '', 'base64').toString('utf8')
  const trust = text('trust')
  const since = Date.parse(text('since'))
  if (trust !== 'perCluster' && trust !== 'shared') return undefined
  return { trust, since: Number.isNaN(since) ? 0 : since, settled: text('settled') === 'yes' }
}

/** What holds from now on. Throws KubernetesError. */
export async function enterPerCluster(
  secrets: ClusterSecrets,
  { now, podsRun }: { now: number; podsRun: boolean }
): Promise<TrustRecord> {
  const wanted: TrustRecord = { trust: 'perCluster', since: podsRun ? now : 0, settled: false }
  const data = await secrets.changeRecord(current =>
    recordIn(current)?.trust === 'perCluster' ? 'keep' : written(wanted)
  )
  return recordIn(data) ?? wanted
}

/** `undefined`: there was never anything but `shared`, or nothing of it is left. Throws KubernetesError. */
export async function enterShared(
  secrets: ClusterSecrets,
  now: number
): Promise<TrustRecord | undefined> {
  const wanted: TrustRecord = { trust: 'shared', since: now, settled: false }
  const data = await secrets.changeRecord(current =>
    recordIn(current)?.trust === 'perCluster' ? written(wanted) : 'keep'
  )
  const record = recordIn(data)
  return record === undefined || record.settled ? undefined : record
}

/** Throws KubernetesError. */
export async function settle(secrets: ClusterSecrets): Promise<void> {
  await secrets.changeRecord(current => {
    const record = recordIn(current)
    return record?.trust === 'shared' && !record.settled
      ? written({ ...record, settled: true })
      : 'keep'
  })
}

function written({ trust, since, settled }: TrustRecord): SecretData {
  const texts = { trust, since: new Date(since).toISOString(), settled: settled ? 'yes' : 'no' }
  return Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, Buffer.from(text).toString('base64')])
  )
}
