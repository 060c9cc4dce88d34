/**
 * Which modes hold for a request: what its path says, else the labels of its namespace, else the defaults.
 *
 * The labels belong to the administrators of the namespace. A value that is not known is refused: a misspelt `required`
 * must not become the weaker default.
 */
import {
  type PodSecurityMode,
  podSecurityLabel,
  podSecurityModes,
  type TlsMode,
  tlsLabel,
  tlsModes
} from '../contract/pod.ts'

export interface Modes {
  podSecurity: PodSecurityMode
  tls: TlsMode
}

export interface RequestedModes {
  /** From the path; stands before the label. */
  podSecurity?: PodSecurityMode
  tls?: TlsMode
  namespaceLabels?: Readonly<Record<string, string>>
}

const tlsOfLabel = new Map<string, TlsMode>([
  ['enabled', 'tls'],
  ['disabled', 'no-tls'],
  ['required', 'required']
])

export function resolveModes(requested: RequestedModes): { modes: Modes } | { problem: string } {
  const labels = requested.namespaceLabels ?? {}
  const tlsValue = own(labels, tlsLabel)
  const tls = requested.tls ?? (tlsValue === undefined ? 'tls' : tlsOfLabel.get(tlsValue))
  if (tls === undefined) return unknown(tlsLabel, tlsValue, [...tlsOfLabel.keys()])
  const securityValue = own(labels, podSecurityLabel)
  const podSecurity = requested.podSecurity ?? securityValue ?? 'warn'
  if (!isPodSecurityMode(podSecurity)) {
    return unknown(podSecurityLabel, securityValue, podSecurityModes)
  }
  return { modes: { podSecurity, tls } }
}

export function modesNeedLabels({ podSecurity, tls }: RequestedModes): boolean {
  return podSecurity === undefined || tls === undefined
}

export function isPodSecurityMode(text: string): text is PodSecurityMode {
  return (podSecurityModes as readonly string[]).includes(text)
}

export function isTlsMode(text: string): text is TlsMode {
  return (tlsModes as readonly string[]).includes(text)
}

function own(labels: Readonly<Record<string, string>>, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined
}

function unknown(label: string, value: string | undefined, known: readonly string[]) {
  return {
    problem:
      `The namespace has the label ${label}=${JSON.stringify((value ?? '').slice(0, 63))}; known values are ` +
      `${known.join(', ')}. An administrator of the namespace has to correct it.`
  }
}
