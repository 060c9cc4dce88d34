import type { Client } from '../kubernetes/client.ts'
import { AuthorityError, type ReloadOutcome } from './authority.ts'
import type { Probe } from './cert-manager/probe.ts'
import type { Sources } from './local.ts'
import type { RefusedPin } from './refused-pin.ts'

/** What every kind of authority is given. */
export interface AuthorityOptions extends Sources {
  /** Told of every load that changed something: the first one, a new CA, a CA that could not be taken. */
  onReload?: (outcome: ReloadOutcome) => void
  /** Such as `cluster.local`; with it a CA that does not allow the names of head services is refused at once. */
  clusterDomain?: string
  /** It must be able to sign CAs for single RayClusters; one that cannot is not taken. */
  signsCas?: boolean
  /** How often files are looked at. Default 10 000; 0 never. */
  pollMs?: number
  /** What certificates will be asked for, where a role has to be tried. Default 90 days. */
  lifetimeSeconds?: number
  /** What the process of a PKCS#11 library runs, if it is not the file that belongs to this program. */
  tokenHost?: URL
  /** What an HSM has said to former tries; where it is not given, to this one alone. */
  refusedPin?: RefusedPin
  /** What an issuer is asked to learn its CA, the same in all tries; where it is not given, of this one alone. */
  probe?: Probe
  /** For the kinds that are asked through the Kubernetes API. */
  cluster?: ClusterAccess
}

export interface ClusterAccess {
  client: Client
  /** Rayguard's own. */
  namespace: string
  /** Milliseconds that never go back. */
  steadyClock: () => number
  /** From 0 to 1, for jitter alone. */
  fraction: () => number
  /** A watch has failed, or an object could not be taken away; both are tried again. */
  onFault?: (error: unknown) => void
  /** How long one request is waited for. Default 10 000. */
  waitMs?: number
  /** How long one that nobody has approved yet is waited for. Default 2 000. */
  approvalMs?: number
  /** How often what was left over is looked for. Default 60 000. */
  sweepEveryMs?: number
}

export const defaultPollMs = 10_000
export const defaultLifetimeSeconds = 90 * 24 * 3600

/** Throws AuthorityError `Invalid` where no Kubernetes API is given. */
export function clusterOf({ cluster }: AuthorityOptions): ClusterAccess {
  if (cluster !== undefined) return cluster
  throw new AuthorityError('Invalid', 'This authority is asked through the Kubernetes API.')
}
