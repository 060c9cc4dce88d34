/**
 * What the return values of a PKCS#11 library mean for people (PKCS#11 2.40 §5.1), and whether another try can help.
 */
import { AuthorityError } from '../authority.ts'

/** The session, the login or the token is gone; a new one may do. Libraries differ, so this is the larger half. */
const lost = new Set([
  'CKR_CRYPTOKI_NOT_INITIALIZED',
  'CKR_DEVICE_ERROR',
  'CKR_DEVICE_MEMORY',
  'CKR_DEVICE_REMOVED',
  'CKR_FUNCTION_FAILED',
  'CKR_GENERAL_ERROR',
  'CKR_HOST_MEMORY',
  'CKR_KEY_HANDLE_INVALID',
  'CKR_OBJECT_HANDLE_INVALID',
  'CKR_OPERATION_ACTIVE',
  'CKR_OPERATION_NOT_INITIALIZED',
  'CKR_SESSION_CLOSED',
  'CKR_SESSION_COUNT',
  'CKR_SESSION_HANDLE_INVALID',
  'CKR_SLOT_ID_INVALID',
  'CKR_TOKEN_NOT_PRESENT',
  'CKR_TOKEN_NOT_RECOGNIZED',
  'CKR_USER_NOT_LOGGED_IN'
])

const wrongPin = 'The PIN in pinFile is wrong; it is not tried again until the file changes.'
const wrongKind =
  'The key in the token is of another kind or size than the key of the issuing CA in certificateFile.'
const invalid: Record<string, string> = {
  CKR_PIN_INCORRECT: wrongPin,
  CKR_PIN_INVALID: wrongPin,
  CKR_PIN_LEN_RANGE: wrongPin,
  CKR_PIN_EXPIRED: 'The PIN of the token has expired; set a new one.',
  CKR_PIN_LOCKED: 'The PIN of the token is locked; its security officer can unlock it.',
  CKR_USER_PIN_NOT_INITIALIZED:
    'The token has no PIN for its user yet; its security officer sets it.',
  CKR_KEY_FUNCTION_NOT_PERMITTED: 'The key in the token may not sign (CKA_SIGN is false).',
  CKR_KEY_TYPE_INCONSISTENT: wrongKind,
  CKR_KEY_SIZE_RANGE: wrongKind,
  CKR_MECHANISM_INVALID:
    'The token cannot sign in the way that is needed: CKM_ECDSA or CKM_RSA_PKCS by the CA’s key, CKM_SHA256_HMAC by one that seals.'
}

export function isLost(error: unknown): boolean {
  return error instanceof Error && lost.has(error.message)
}

/** Makers of HSMs have codes of their own, also for a connection that is lost. */
export function mayBeLost(error: unknown): boolean {
  const isTold = error instanceof AuthorityError
  return error instanceof Error && !isTold && !Object.hasOwn(invalid, error.message)
}

export function isWrongPin(error: unknown): boolean {
  return error instanceof Error && invalid[error.message] === wrongPin
}

/** Never carries a PIN: the package's errors hold a name and a number alone. */
export function faultOf(error: unknown): AuthorityError {
  if (error instanceof AuthorityError) return error
  const name = error instanceof Error ? error.message : 'unknown'
  const reason = Object.hasOwn(invalid, name) ? invalid[name] : undefined
  return reason === undefined
    ? new AuthorityError('Unavailable', `The token does not work now (${name}).`, { cause: error })
    : new AuthorityError('Invalid', `${reason} (${name})`, { cause: error })
}

/** CK_TOKEN_INFO flags (PKCS#11 2.40 §3.2). */
const flags = { userPinInitialized: 0x8, userPinFinalTry: 0x20000, userPinLocked: 0x40000 }

/**
 * Why the PIN is not even tried. A process that is started again and again with a wrong one must not use up the last try:
 * then a person can still set it right.
 */
export function loginFault(tokenFlags: number): AuthorityError | undefined {
  const has = (flag: number) => (tokenFlags & flag) !== 0
  if (has(flags.userPinLocked)) return faultOf(new Error('CKR_PIN_LOCKED'))
  if (!has(flags.userPinInitialized)) return faultOf(new Error('CKR_USER_PIN_NOT_INITIALIZED'))
  if (!has(flags.userPinFinalTry)) return undefined
  return new AuthorityError(
    'Invalid',
    'One more wrong PIN would lock the token, so it is not tried. Put the right one into pinFile and log in to the token once by other means.'
  )
}
