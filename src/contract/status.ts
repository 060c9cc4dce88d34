/**
 * What a replica says of itself at `GET /status` of its ops listener, and `rayguard status` reads through the API server.
 *
 * Public: names, ends and certificates, never a key.
 */
export interface ReplicaStatus {
  version: string
  components: string[]
  ready: boolean
  /** `ok`, or what is missing. */
  checks: Record<string, string>
  /** RFC 3339; the clock of the replica. */
  now: string
  /** PEM, leaf first, of each listener. */
  servingCertificates: Record<string, string>
  /** RFC 3339 by name: the listeners' own, and `authority`. */
  certificateExpiries: Record<string, string>
}
