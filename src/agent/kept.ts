import { createPrivateKey, type KeyObject } from 'node:crypto'
import { addressesOf, type CheckedPair, checkPair } from './certificates.ts'
import { readFiles } from './files.ts'

const loopback = new Set(['127.0.0.1', '::1'])

/**
 * The pair of an earlier run where it still serves: whole, matching, for exactly the pod's addresses now, and with more
 * than half of its life before it. A new sandbox may have another address, and Ray never reads its files again, so in
 * doubt the answer is `undefined` and a new certificate is asked for.
 */
export function findKeptPair(
  options: { directory: string; keyGroup?: number; podIPs: string[] },
  now: number
): CheckedPair | undefined {
  const files = readFiles(options.directory, options.keyGroup)
  const privateKey = files && readKey(files.key)
  if (files === undefined || privateKey === undefined) return undefined
  const checked = checkPair({ ...files, privateKey, podIPs: options.podIPs, now })
  if (!checked.usable) return undefined
  const { leaf } = checked.pair
  const foreign = addressesOf(leaf).filter(
    address => !loopback.has(address) && !options.podIPs.includes(address)
  )
  return foreign.length === 0 && isInFirstHalf(leaf, now) ? checked.pair : undefined
}

function readKey(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem)
  } catch {
    return undefined
  }
}

function isInFirstHalf(leaf: { validFrom: string; validTo: string }, now: number): boolean {
  const start = Date.parse(leaf.validFrom)
  return now - start < (Date.parse(leaf.validTo) - start) / 2
}
