/**
 * What has to be done about a serving Secret next: PURE, from what stands in it and the time.
 *
 * The order that keeps every client connected: a successor is announced first, signs later, and its predecessor stays
 * announced for a while after that.
 */
import { leafEnd } from './material.ts'
import { backdateMs, type Profile, renewalTime } from './profile.ts'
import type { ServingState } from './state.ts'

export type Step =
  /** Nothing. */
  | 'keep'
  /** There is nothing yet: make a CA and a server certificate. */
  | 'begin'
  /** What stands there cannot be used. Beginning anew would give up a CA that clients trust. */
  | 'lost'
  /** Make a server certificate. */
  | 'renew'
  /** Make the successor of the CA and announce it. */
  | 'prepare'
  /** Let the successor sign. */
  | 'promote'
  /** Announce the predecessor no longer. */
  | 'forget'

export interface Situation {
  state: ServingState
  /** Whether the Secret holds nothing of ours at all. */
  blank: boolean
  profile: Profile
  /** Milliseconds since the epoch. */
  now: number
  /** Whether clients are known to trust the successor. */
  nextAnnounced: boolean
}

const hour = 3_600_000

export function nextStep(situation: Situation): Step {
  const { state, profile, now, blank } = situation
  const { anchor, authority, next, former } = state
  if (blank) return 'begin'
  if (anchor === undefined) return 'lost'
  if (next === undefined ? authority === undefined && !serves(state, now) : mayPromote(situation)) {
    return next === undefined ? 'lost' : 'promote'
  }
  // Without its key the CA signs no more, so that its successor is due.
  if (next === undefined && (authority === undefined || renewal(authority) <= now)) return 'prepare'
  if (authority !== undefined && leafDue(state, profile, now)) return 'renew'
  return former !== undefined && former.until <= now ? 'forget' : 'keep'
}

function mayPromote({ state, profile, now, nextAnnounced }: Situation): boolean {
  const { anchor, authority, next, leaf } = state
  if (next === undefined) return false
  // With its own end passed the former one vouches for nothing: waiting could not help anybody.
  if (anchor === undefined || ended(anchor, now)) return true
  if (authority === undefined) {
    if (leaf === undefined || ended(leaf, now)) return true
    // Nobody can certify this successor for those who know the old CA alone. Time for a person to bring the key back.
    const end = leaf.certificate.notAfter.getTime()
    if (!profile.startsOver && end - now > profile.formerMs) return false
  }
  const made = next.certificate.notBefore.getTime() + backdateMs
  return nextAnnounced && now >= made + profile.settleMs
}

function serves({ leaf }: ServingState, now: number): boolean {
  return leaf !== undefined && !ended(leaf, now)
}

function leafDue({ leaf, authority }: ServingState, profile: Profile, now: number): boolean {
  if (leaf === undefined || authority === undefined) return true
  const { notBefore, notAfter } = leaf.certificate
  if (profile.dnsNames.some(name => !leaf.dnsNames.includes(name))) return true
  // Made by somebody whose clock was ahead.
  if (notBefore.getTime() > now) return true
  // Near the end of its CA a new one would end on the same day.
  const gained = leafEnd(authority, profile, now) - notAfter.getTime()
  return renewalTime(notBefore, notAfter) <= now && gained > hour
}

function renewal({ certificate }: Dated): number {
  return renewalTime(certificate.notBefore, certificate.notAfter)
}

interface Dated {
  certificate: { notBefore: Date; notAfter: Date }
}

export function ended({ certificate }: Dated, now: number): boolean {
  return certificate.notAfter.getTime() <= now
}
