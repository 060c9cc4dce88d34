/**
 * Which addresses a pod has, and whether it is one of them that asks.
 *
 * What is signed is what the API shows. What the pod claims is only compared: after a new sandbox the API may still show
 * the addresses of the former one. Forwarding headers are never looked at: whoever can send a request can send those.
 */
import type { Pod } from '../kubernetes/objects.ts'
import { canonicalAddress } from '../x509/names.ts'
import { type Proof, type Refusal, refuse } from './refusal.ts'

export interface Addresses {
  /** Canonical, in the API's order. */
  addresses: string[]
}

/** Canonical, without duplicates; `undefined` if any is not an address. */
export function claimedAddresses(claimed: readonly string[]): string[] | undefined {
  const canonical = claimed.map(canonicalAddress)
  return canonical.every(address => address !== undefined) ? [...new Set(canonical)] : undefined
}

/** The pod's addresses, if they are those that it claims. */
export function visibleAddresses(pod: Pod, claimed: readonly string[]): Proof<Addresses> {
  const shown = shownAddresses(pod)
  if (shown.length === 0) return refuse('IPNotVisible', 'the API shows no address of the pod')
  const addresses = [...new Set(shown.map(address => canonicalAddress(address) ?? address))]
  const odd = addresses.find(address => !isUnicast(address))
  if (odd !== undefined)
    return refuse('IPNotVisible', `the API shows ${odd}, which no pod can have`)
  if (addresses.length !== claimed.length || !claimed.every(address => addresses.includes(address)))
    return refuse('IPMismatch', `the API shows ${addresses}, the pod claims ${claimed}`)
  return { allowed: true, addresses }
}

export function shownAddresses({ status }: Pick<Pod, 'status'>): string[] {
  const all = (status?.podIPs ?? []).map(({ ip }) => ip)
  return all.length === 0 && status?.podIP ? [status.podIP] : all
}

/**
 * Attack: a user who may create tokens for somebody's pod (`serviceaccounts/token`, part of the role `edit`) enrolls with
 * a key of their own. They are not at the pod's address.
 */
export function sourceFault(
  source: string | undefined,
  addresses: readonly string[]
): Refusal | undefined {
  // A dual-stack listener shows IPv4 peers as ::ffff:10.0.0.1.
  const canonical = canonicalAddress(source ?? '')
  if (canonical !== undefined && addresses.includes(canonical)) return undefined
  return refuse('SourceAddress', `the request comes from ${source}, the pod is at ${addresses}`)
}

/**
 * Canonical text. Unspecified, link-local and multicast addresses are no pod's, and would speak for other hosts. Loopback
 * is let through: every certificate holds it anyway.
 */
function isUnicast(address: string): boolean {
  if (address.includes(':')) return !/^(?:::$|fe[89ab]|ff)/.test(address)
  const [first = Number.NaN, second] = address.split('.').map(Number)
  return first > 0 && first < 224 && !(first === 169 && second === 254)
}
