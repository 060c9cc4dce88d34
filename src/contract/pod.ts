/**
 * The names that the patch writes, the agent reads and the identity check looks for.
 *
 * Constants alone: what three rooms must agree on stands once, and no room imports another for it.
 */

export const enrollContainer = 'rayguard-enroll'
export const enrollCommand: readonly string[] = ['rayguard', 'enroll']

export const tlsVolume = 'rayguard-tls'
export const tokenVolume = 'rayguard-token'
export const noApiTokenVolume = 'rayguard-no-api-token'

export const tlsDirectory = '/etc/rayguard/tls'
export const certificateFile = 'tls.crt'
export const keyFile = 'tls.key'
export const trustAnchorsFile = 'ca.crt'

export const tokenDirectory = '/var/run/secrets/rayguard.dev'
export const tokenFile = 'token'
export const tokenAudience = 'rayguard'
/** The API server's lower bound for a projected token (seconds). */
export const tokenExpirationSeconds = 600

/** Where the ServiceAccount admission plugin mounts the API token unless something is mounted there already. */
export const apiTokenDirectory = '/var/run/secrets/kubernetes.io/serviceaccount'

/** Ray's own variables (src/ray/common/ray_config_def.h), in the order in which the patch appends them. */
export const rayTlsVariables: readonly { name: string; value: string }[] = [
  { name: 'RAY_USE_TLS', value: '1' },
  { name: 'RAY_TLS_SERVER_CERT', value: `${tlsDirectory}/${certificateFile}` },
  { name: 'RAY_TLS_SERVER_KEY', value: `${tlsDirectory}/${keyFile}` },
  { name: 'RAY_TLS_CA_CERT', value: `${tlsDirectory}/${trustAnchorsFile}` }
]

/** The agent's variables. `podIPs` is a comma-separated list, as the downward API gives it. */
export const agentVariables = {
  serverUrl: 'RAYGUARD_SERVER_URL',
  serverCa: 'RAYGUARD_SERVER_CA',
  podIPs: 'RAYGUARD_POD_IPS',
  podName: 'RAYGUARD_POD_NAME',
  podNamespace: 'RAYGUARD_POD_NAMESPACE',
  podUid: 'RAYGUARD_POD_UID',
  keyGroup: 'RAYGUARD_KEY_GROUP',
  keyAlgorithm: 'RAYGUARD_KEY_ALGORITHM'
} as const

export const reportAnnotation = 'rayguard.dev/report'
export const tlsContainersAnnotation = 'rayguard.dev/tls-containers'
export const netrcSecretAnnotation = 'rayguard.dev/netrc-secret'

/** Labels of namespaces, set by administrators. */
export const tlsLabel = 'rayguard.dev/tls'
export const podSecurityLabel = 'rayguard.dev/pod-security'
export const pausedLabel = 'rayguard.dev/paused'
export const certificateLifetimeLabel = 'rayguard.dev/certificate-lifetime'

/** Pod Security for what remains after tightening: refuse it, warn, note it for the audit log, or do no Pod Security work. */
export const podSecurityModes = ['enforce', 'warn', 'audit', 'off'] as const
export type PodSecurityMode = (typeof podSecurityModes)[number]

/** `required`: nothing in the namespace may have TLS by other means or none. */
export const tlsModes = ['tls', 'required', 'no-tls'] as const
export type TlsMode = (typeof tlsModes)[number]

export const keyAlgorithms = ['P-256', 'P-384', 'RSA-2048', 'RSA-3072', 'RSA-4096'] as const
export type KeyAlgorithm = (typeof keyAlgorithms)[number]
