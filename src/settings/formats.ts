/** What texts in the settings may look like: for each format what people are told, and the test. */
import { isIP } from 'node:net'
import { durationSeconds } from './duration.ts'
import { cpuMillicores, memoryBytes } from './quantity.ts'

export interface Format {
  /** Ends the sentence "expected …". */
  expected: string
  accepts(text: string): boolean
}

const mebibyte = 1024 * 1024

const formats = {
  path: {
    expected: 'an absolute path, like /etc/rayguard/serving/tls.crt',
    accepts: text => /^\/[^\0]*[^/\0]$/.test(text)
  },
  'ip-address': {
    expected: 'an IP address, like 0.0.0.0 or ::',
    accepts: text => isIP(text) !== 0 && !text.includes('%')
  },
  'dns-name': {
    expected: 'a DNS name in lower case, like cluster.local',
    accepts: isDnsName
  },
  'object-name': {
    expected: 'the name of a Kubernetes object, like registry-credentials',
    accepts: text => text.length <= 253 && text.split('.').every(isLabel)
  },
  image: {
    expected: 'an image reference, like registry.example/rayguard:0.1.0 or …@sha256:…',
    accepts: isImageReference
  },
  'known-image': {
    expected: 'the name of an image without tag, with a user or not, like example.org/ray*=1000',
    accepts: text => /^[a-z0-9][a-z0-9._:/-]{0,254}\*?(=[1-9][0-9]{0,8})?$/.test(text)
  },
  'https-url': {
    expected: 'an https:// URL of a host, without path, query or user',
    accepts: isBareHttpsUrl
  },
  audience: {
    expected: 'a token audience: 1 to 256 printable characters without spaces',
    accepts: text => /^[\x21-\x7e]{1,256}$/.test(text)
  },
  label: {
    expected: 'a label of 1 to 64 printable characters, like pods-ca',
    accepts: text => /^[^\p{C}]{1,64}$/u.test(text) && text.trim() === text
  },
  'signer-name': {
    expected: 'the name of a signer, like example.com/ray-pods, none of kubernetes.io',
    accepts: isSignerName
  },
  kind: {
    expected: 'a kind of Kubernetes objects, like Issuer',
    accepts: text => /^[A-Z][A-Za-z0-9]{0,62}$/.test(text)
  },
  hexadecimal: {
    expected: 'bytes in hexadecimal, like 01 or a1b2',
    accepts: text => /^([0-9a-fA-F]{2}){1,64}$/.test(text)
  },
  lifetime: durationFormat('5m', '3650d'),
  interval: durationFormat('5s', '1d'),
  'vault-path': {
    expected: 'a path of Vault without slashes at its ends, like pki or team/pki',
    accepts: text => text.length <= 256 && text.split('/').every(isVaultName)
  },
  'vault-name': { expected: 'a name in Vault, like ray-pods', accepts: isVaultName },
  'client-lifetime': durationFormat('1h', '30d'),
  drain: durationFormat('0s', '5m'),
  deadline: durationFormat('1s', '10m'),
  cpu: {
    expected: 'an amount of processor of at least 10m, like 500m or 1',
    accepts: text => (cpuMillicores(text) ?? 0) >= 10
  },
  memory: {
    // A Node process that makes a key and one request; below it the kernel ends it.
    expected: 'an amount of memory of at least 64Mi, like 128Mi',
    accepts: text => (memoryBytes(text) ?? 0) >= 64 * mebibyte
  }
} as const satisfies Record<string, Format>

export type FormatName = keyof typeof formats

export function formatNamed(name: string): Format {
  if (!Object.hasOwn(formats, name)) throw new Error(`there is no format ${name}`)
  return formats[name as FormatName]
}

function durationFormat(shortest: string, longest: string): Format {
  const from = durationSeconds(shortest) ?? 0
  const to = durationSeconds(longest) ?? 0
  return {
    expected: `a duration between ${shortest} and ${longest}, like 90d, 1h30m or 10s`,
    accepts(text) {
      const seconds = durationSeconds(text)
      return seconds !== undefined && seconds >= from && seconds <= to
    }
  }
}

/** RFC 1123 §2.1, as Kubernetes writes it. */
function isLabel(label: string): boolean {
  return /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(label)
}

/** No segment of dots alone, which a URL would climb with. */
function isVaultName(name: string): boolean {
  return /^\w([\w.-]{0,126}\w)?$/.test(name)
}

/** A last label of digits alone makes an address of it to whoever reads names (RFC 1123 §2.1), so that none is signed. */
function isDnsName(text: string): boolean {
  const labels = text.split('.')
  return text.length <= 253 && labels.every(isLabel) && !/^\d+$/.test(labels.at(-1) ?? '')
}

/**
 * Kubernetes' own signers sign for the API server alone: none gives a certificate that is server and client
 * (https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers).
 */
function isSignerName(text: string): boolean {
  const [domain = '', path = '', ...rest] = text.split('/')
  return (
    rest.length === 0 &&
    domain.includes('.') &&
    isDnsName(domain) &&
    path.split('.').every(isLabel) &&
    !/(^|\.)kubernetes\.io$/.test(domain)
  )
}

/** https://github.com/distribution/reference: [host[:port]/]path[:tag][@digest], with sha256 as the only digest. */
function isImageReference(text: string): boolean {
  if (text.length > 512) return false
  const [, name = '', , digest] = /^([^@]+)(@(.+))?$/.exec(text) ?? []
  if (digest !== undefined && !/^sha256:[0-9a-f]{64}$/.test(digest)) return false
  const parts = name.split('/')
  const host =
    parts.length > 1 && /[.:]|^localhost$/.test(parts[0] ?? '') ? parts.shift() : undefined
  if (host !== undefined && !/^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?$/.test(host)) {
    return false
  }
  const last = parts.pop() ?? ''
  return (
    parts.every(part => imagePathPart.test(part)) &&
    /^[^:]+(:\w[\w.-]{0,127})?$/.test(last) &&
    imagePathPart.test(last.split(':')[0] ?? '')
  )
}

const imagePathPart = /^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$/

function isBareHttpsUrl(text: string): boolean {
  if (!text.startsWith('https://') || !URL.canParse(text)) return false
  const url = new URL(text)
  return text.replace(/\/$/, '') === `https://${url.host}` || text === `https://${url.host}:443`
}
