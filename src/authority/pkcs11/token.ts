/**
 * Finds the token and the key that the settings mean, and logs in.
 *
 * Decides that exactly one token and one key is meant; never guesses between two.
 */
import { AuthorityError } from '../authority.ts'
import { faultOf, loginFault } from './faults.ts'
import type { Calls, Handle } from './library.ts'

export interface KeyReference {
  keyLabel?: string | undefined
  /** Hexadecimal. */
  keyId?: string | undefined
}

export interface SealingSettings extends KeyReference {
  /** Opens what it has sealed, and seals no more. */
  former?: KeyReference | undefined
}

export interface TokenSettings extends KeyReference {
  tokenLabel?: string | undefined
  slot?: number | undefined
  sessions: number
  sealing?: SealingSettings | undefined
}

/** CK_KEY_TYPE (PKCS#11 2.40 §3.3). */
export const keyTypes = { rsa: 0, ec: 3 } as const
export type KeyType = keyof typeof keyTypes

/** What for: the CA's own key, and those that seal. */
export type KeyUse = 'signing' | 'sealing' | 'formerSealing'

export interface OpenToken {
  sessions: Handle[]
  keys: Partial<Record<KeyUse, Handle>>
  /** What could be better about the CA's own key. */
  warnings: string[]
}

/** PKCS#11 2.40 §2. */
const serialSession = 4
const userType = 1
const attributes = {
  class: 0,
  label: 3,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  extractable: 0x162,
  alwaysAuthenticate: 0x202
}

interface KeyKind {
  /** In messages. */
  what: string
  setting: string
  class: number
  types: readonly number[]
}

function signingKind(keyType: KeyType): KeyKind {
  const what = `private key of the kind that certificateFile needs, ${keyType.toUpperCase()}`
  return { what, setting: 'authority', class: 3, types: [keyTypes[keyType]] }
}

/** CKK_GENERIC_SECRET, CKK_SHA256_HMAC. */
const sealingKind: KeyKind = {
  what: 'secret key for HMAC,',
  setting: 'authority.sealing',
  class: 4,
  types: [0x10, 0x2b]
}

/** Throws AuthorityError, and what the library throws while a token is going away. */
export function openToken(
  calls: Calls,
  settings: TokenSettings & { keyType: KeyType },
  pin: string
): OpenToken {
  const slot = slotOf(calls, settings)
  const sessions: Handle[] = []
  for (let count = 0; count < settings.sessions; count++) {
    sessions.push(calls.C_OpenSession(slot, serialSession))
  }
  const [session] = sessions
  if (session === undefined) throw new AuthorityError('Invalid', 'No session was asked for.')
  // One login is for all sessions of this process with the token (PKCS#11 2.40 §2.6.4 of the usage guide).
  login(calls, slot, session, pin)
  const { sealing } = settings
  const signing = signingKey(calls, session, settings)
  const keys: OpenToken['keys'] = { signing }
  if (sealing !== undefined) keys.sealing = sealingKey(calls, session, sealing)
  if (sealing?.former !== undefined) keys.formerSealing = sealingKey(calls, session, sealing.former)
  return { sessions, keys, warnings: keyWarnings(calls, session, signing) }
}

function slotOf(calls: Calls, { tokenLabel, slot }: TokenSettings): Handle {
  const labels: string[] = []
  const found = calls.C_GetSlotList(true).filter(candidate => {
    const label = labelOf(calls, candidate)
    if (label !== undefined && label !== '') labels.push(label)
    return (
      label !== undefined &&
      (tokenLabel === undefined || label === tokenLabel) &&
      (slot === undefined || slotNumber(candidate) === BigInt(slot))
    )
  })
  const [first, ...others] = found
  const wanted = [
    ...(tokenLabel === undefined ? [] : [`with the label ${tokenLabel}`]),
    ...(slot === undefined ? [] : [`in slot ${slot}`])
  ].join(' ')
  if (first === undefined) {
    throw new AuthorityError(
      'Unavailable',
      `There is no token ${wanted}; found: ${listed(labels)}. It may be absent for now, or the settings name another one.`
    )
  }
  if (others.length === 0) return first
  throw new AuthorityError(
    'Invalid',
    `There are ${found.length} tokens ${wanted}; set authority.slot to one of ${found.map(slotNumber).join(', ')}.`
  )
}

/** `undefined` while the token is not there, which some libraries say late. */
function labelOf(calls: Calls, slot: Handle): string | undefined {
  try {
    // Padded with blanks to 32 bytes.
    return calls.C_GetTokenInfo(slot).label.replace(/[ \0]+$/, '')
  } catch {
    return undefined
  }
}

/** CK_SLOT_ID in the byte order of this machine, which Node knows as little-endian only. */
function slotNumber(slot: Handle): bigint {
  return slot.length === 8 ? slot.readBigUInt64LE() : BigInt(slot.readUInt32LE())
}

function login(calls: Calls, slot: Handle, session: Handle, pin: string): void {
  const fault = loginFault(calls.C_GetTokenInfo(slot).flags)
  if (fault !== undefined) throw fault
  try {
    calls.C_Login(session, userType, pin)
  } catch (error) {
    if (error instanceof Error && error.message === 'CKR_USER_ALREADY_LOGGED_IN') return
    throw faultOf(error)
  }
}

function signingKey(
  calls: Calls,
  session: Handle,
  settings: KeyReference & { keyType: KeyType }
): Handle {
  const key = only(calls, session, signingKind(settings.keyType), settings)
  if (flag(calls, session, key, attributes.alwaysAuthenticate) !== true) return key
  throw new AuthorityError(
    'Invalid',
    'The key wants the PIN again for each signature (CKA_ALWAYS_AUTHENTICATE), which is meant for persons; use another key.'
  )
}

/** Only a warning: without this key no pod would start until the CA is another one. */
function keyWarnings(calls: Calls, session: Handle, key: Handle): string[] {
  const found = [
    ...(flag(calls, session, key, attributes.extractable) === true ? ['CKA_EXTRACTABLE true'] : []),
    ...(flag(calls, session, key, attributes.sensitive) === false ? ['CKA_SENSITIVE false'] : [])
  ]
  if (found.length === 0) return []
  return [
    `The key of the CA may leave the token (${found.join(', ')}): who has had the PIN once may sign from then on without ` +
      'the HSM. Use a key that the token has made, or import it anew with CKA_EXTRACTABLE false and CKA_SENSITIVE true ' +
      '(docs/authorities/pkcs11.md)'
  ]
}

/** Attack: whoever once had the PIN, and with it the key, opens every Secret from then on without the token. */
function sealingKey(calls: Calls, session: Handle, reference: KeyReference): Handle {
  const key = only(calls, session, sealingKind, reference)
  const staysInside = flag(calls, session, key, attributes.extractable) === false
  if (staysInside && flag(calls, session, key, attributes.sensitive) === true) return key
  throw new AuthorityError(
    'Invalid',
    'The key that seals may leave the token: CKA_EXTRACTABLE false and CKA_SENSITIVE true were expected; make one that has both.'
  )
}

function only(
  calls: Calls,
  session: Handle,
  kind: KeyKind,
  { keyLabel, keyId }: KeyReference
): Handle {
  const wanted = [
    kind.what,
    ...(keyLabel === undefined ? [] : [`with the label ${keyLabel}`]),
    ...(keyId === undefined ? [] : [`with the id ${keyId}`])
  ].join(' ')
  const found = kind.types.flatMap(type =>
    find(calls, session, kind, [
      { type: attributes.keyType, value: type },
      ...(keyLabel === undefined ? [] : [{ type: attributes.label, value: keyLabel }]),
      ...(keyId === undefined ? [] : [{ type: attributes.id, value: Buffer.from(keyId, 'hex') }])
    ])
  )
  const [key, ...others] = found
  if (key === undefined) {
    const labels = find(calls, session, kind, []).map(other =>
      textAttribute(calls, session, other, attributes.label)
    )
    throw new AuthorityError(
      'Invalid',
      `The token has no ${wanted}; it has of any kind: ${listed(labels)}.`
    )
  }
  if (others.length === 0) return key
  throw new AuthorityError(
    'Invalid',
    `The token has ${found.length} times a ${wanted}; set ${kind.setting}.keyId and keyLabel so that one is left.`
  )
}

function find(
  calls: Calls,
  session: Handle,
  kind: KeyKind,
  template: { type: number; value: number | string | Buffer }[]
): Handle[] {
  calls.C_FindObjectsInit(session, [{ type: attributes.class, value: kind.class }, ...template])
  try {
    return calls.C_FindObjects(session, 16)
  } finally {
    calls.C_FindObjectsFinal(session)
  }
}

function textAttribute(calls: Calls, session: Handle, object: Handle, type: number): string {
  const [found] = calls.C_GetAttributeValue(session, object, [{ type }])
  return found?.value.toString() ?? ''
}

/** An attribute that is true or false. `undefined`: the token does not say; old ones lack some. */
function flag(calls: Calls, session: Handle, key: Handle, type: number): boolean | undefined {
  try {
    const [found] = calls.C_GetAttributeValue(session, key, [{ type }])
    return Buffer.isBuffer(found?.value) && found.value.length > 0
      ? found.value[0] === 1
      : undefined
  } catch {
    return undefined
  }
}

function listed(labels: string[]): string {
  const known = labels.filter(label => label !== '')
  return known.length === 0 ? 'none' : known.join(', ')
}
