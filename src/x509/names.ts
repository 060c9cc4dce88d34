/**
 * Names in certificates: DNS names and IP addresses in one canonical spelling, and their comparison as sets.
 *
 * Decides what a well-formed name is (RFC 1123 §2.1, RFC 4291 §2.2, RFC 5952); never which names a pod may hold.
 */

/** Canonical (lower-case DNS, RFC 5952 addresses), without duplicates. */
export interface CertificateNames {
  dnsNames: string[]
  ipAddresses: string[]
}
