/** Where others may and may not mount something in our init container. */

export const overProgram = [
  '/opt/rayguard/rayguard.js',
  '/opt/rayguard/chunks',
  '/opt/rayguard/',
  '/opt',
  '/',
  '/usr',
  '/usr/local/bin/node',
  '/usr/local/bin/rayguard',
  '/lib/x86_64-linux-gnu',
  '/lib64/ld-linux-x86-64.so.2',
  '/usr/lib/x86_64-linux-gnu/glibc-hwcaps',
  '/etc',
  '/etc/ld.so.preload',
  '/etc/ssl',
  '/etc/ssl/openssl.cnf',
  '/data/../opt/rayguard',
  '/data/../rayguard',
  '/.//opt//rayguard/.',
  '/proc/self/root/opt/rayguard/rayguard.js',
  '/proc//thread-self/root/lib',
  '/proc/1/root',
  'opt/rayguard',
  '/etc/rayguard',
  '/var/run/secrets/rayguard.dev/token'
]

/** Of IRSA and EKS Pod Identity, Azure, Vault, a CA bundle, a time zone, and plain ones whose names begin alike. */
export const besideProgram = [
  '/var/run/secrets/eks.amazonaws.com/serviceaccount',
  '/var/run/secrets/pods.eks.amazonaws.com/serviceaccount',
  '/var/run/secrets/azure/tokens',
  '/vault/secrets',
  '/etc/ssl/certs',
  '/etc/localtime',
  '/usr/share/zoneinfo',
  '/opt/rayguard-extra',
  '/library',
  '/proc/meminfo',
  '/tmp'
]
