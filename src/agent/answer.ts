import {
  type CertificateResponse,
  type NamesRequiredResponse,
  type RefusalCode,
  refusals
} from '../contract/enrollment.ts'
import { type CertificateNames, canonicalNames } from '../x509/names.ts'
import type { Exchange } from './exchange.ts'

export type Answer =
  | { kind: 'issued'; response: CertificateResponse; serverDate?: Date }
  | { kind: 'names'; names: CertificateNames; requestId?: string }
  | Again
  | Never

export interface Again {
  kind: 'again'
  code: string
  detail: string
  requestId?: string
  retryAfterMs?: number
}

export interface Never {
  kind: 'never'
  code: string
  detail: string
  requestId?: string
}

/** Only these statuses end the agent, and only with a refusal that is ours: a page of some proxy ends nothing. */
const never = new Set([400, 401, 403, 422])

/** What a reply of the server means. Everything that is not understood is `again`: an exit costs a new pod. */
export function readAnswer(exchanged: Exchange, now: number): Answer {
  if (exchanged.kind === 'fault') {
    return { kind: 'again', code: exchanged.code, detail: exchanged.detail }
  }
  const { status, date } = exchanged
  const body = parse(exchanged.body)
  if (status === 201 && isCertificate(body)) {
    return { kind: 'issued', response: body, ...(date === undefined ? {} : { serverDate: date }) }
  }
  const refusal = readRefusal(status, body)
  if (status === 409) {
    const names = readNames(body)
    if (names !== undefined) return { kind: 'names', names, ...requestIdOf(body) }
  }
  if (never.has(status) && refusal.understood) {
    return { kind: 'never', code: refusal.code, detail: refusal.detail, ...requestIdOf(body) }
  }
  const retryAfterMs = readRetryAfter(exchanged.retryAfter, now)
  return {
    kind: 'again',
    code: refusal.code,
    detail: refusal.detail,
    ...requestIdOf(body),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs })
  }
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : {}
  } catch {
    return {}
  }
}

function isCertificate(
  body: Record<string, unknown>
): body is Record<string, unknown> & CertificateResponse {
  return typeof body.certificate === 'string' && typeof body.trustAnchors === 'string'
}

/**
 * The text comes from our own table, never from the answer: a server or proxy that repeats the request in its message
 * must not bring the token into the pod's log.
 */
function readRefusal(
  status: number,
  body: Record<string, unknown>
): { understood: boolean; code: string; detail: string } {
  const { code } = body
  if (typeof code !== 'string' || !/^[A-Z][A-Za-z]{0,63}$/.test(code)) {
    return {
      understood: false,
      code: 'AnswerMalformed',
      detail: `The server answered ${status} with something that is not an answer of Rayguard.`
    }
  }
  const detail = Object.hasOwn(refusals, code)
    ? refusals[code as RefusalCode].text
    : `The server answered ${status} with a code that this version does not know.`
  return { understood: true, code, detail }
}

function requestIdOf(body: Record<string, unknown>): { requestId?: string } {
  const { requestId } = body
  return typeof requestId === 'string' && /^[\w.-]{1,64}$/.test(requestId) ? { requestId } : {}
}

function readNames(body: Record<string, unknown>): CertificateNames | undefined {
  const { dnsNames, ipAddresses }: { [key in keyof NamesRequiredResponse]?: unknown } = body
  if (body.code !== 'NamesRequired' || !areStrings(dnsNames) || !areStrings(ipAddresses)) return
  return canonicalNames({ dnsNames, ipAddresses })
}

function areStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(item => typeof item === 'string')
}

/** Seconds or a date (RFC 9110 §10.2.3). */
function readRetryAfter(text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined
  const milliseconds = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now
  return milliseconds >= 0 ? milliseconds : undefined
}
