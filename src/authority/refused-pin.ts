/**
 * The PIN that a token has refused, remembered for as long as the process lives: tokens lock after a few wrong ones, and what
 * asks the token is made anew more than once.
 */
import { createHmac } from 'node:crypto'

/** Enough to know the PIN again. The key is of this process alone. */
export interface RefusedPin {
  key: Uint8Array
  digest: string | undefined
}

export function noRefusedPin(random: (size: number) => Uint8Array): RefusedPin {
  return { key: random(32), digest: undefined }
}

export function isRefused(refused: RefusedPin, pin: string): boolean {
  return refused.digest === digestOf(refused, pin)
}

/** Of HMAC with SHA-256 (RFC 2104). */
export function digestOf({ key }: RefusedPin, pin: string): string {
  return createHmac('sha256', key).update(pin).digest('hex')
}
