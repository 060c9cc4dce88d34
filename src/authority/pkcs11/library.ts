/**
 * The PKCS#11 library of an HSM inside this process (OASIS PKCS#11 2.40), by way of the optional package pkcs11js.
 *
 * Decides only whether it can be loaded. A library has one state for the whole process, so there is one of these for it.
 */
import { AuthorityError } from '../authority.ts'

/** What sessions, slots and keys are called; opaque. */
export type Handle = Buffer

interface Attribute {
  type: number
  value?: number | boolean | string | Buffer
}

/** The calls of pkcs11js that are used. All but the last hold the event loop while the library works, or waits for a lock. */
export interface Calls {
  C_GetSlotList(tokenPresent: boolean): Handle[]
  C_GetTokenInfo(slot: Handle): { label: string; flags: number }
  C_OpenSession(slot: Handle, flags: number): Handle
  C_Login(session: Handle, userType: number, pin: string): void
  C_FindObjectsInit(session: Handle, template: Attribute[]): void
  C_FindObjects(session: Handle, maximum: number): Handle[]
  C_FindObjectsFinal(session: Handle): void
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    template: Attribute[]
  ): { value: Buffer | string }[]
  C_SignInit(session: Handle, mechanism: { mechanism: number }, key: Handle): void
  /** In one of Node's threads. */
  C_SignAsync(session: Handle, data: Buffer, signature: Buffer): Promise<Buffer>
}

interface Loadable extends Calls {
  load(file: string): void
  C_Initialize(options: { flags: number }): void
  C_Finalize(): void
}

export interface Library {
  readonly calls: Calls
  /** Forgets every session, slot and login, and looks for tokens anew. No call may be at work. */
  restart(): void
  close(): void
}

const packageName = 'pkcs11js'
/** CKF_OS_LOCKING_OK: signatures are made in several threads. */
const osLocking = { flags: 2 }

/** Throws AuthorityError `Invalid` where the package or the library is missing, `Unavailable` where it does not start. */
export async function openLibrary(file: string): Promise<Library> {
  const calls = await newModule()
  try {
    calls.load(file)
  } catch (cause) {
    throw new AuthorityError(
      'Invalid',
      `The PKCS#11 library ${file} cannot be loaded: ${textOf(cause)}. Expected a shared object for this system, and every library that it needs beside it.`,
      { cause }
    )
  }
  try {
    calls.C_Initialize(osLocking)
  } catch (cause) {
    throw new AuthorityError(
      'Unavailable',
      `The PKCS#11 library ${file} does not start (${textOf(cause)}); its own settings file or variable may be missing.`,
      { cause }
    )
  }
  return {
    calls,
    restart() {
      end(calls)
      calls.C_Initialize(osLocking)
    },
    close: () => end(calls)
  }
}

/** A library that did not start the last time has nothing to end, and says so. */
function end(calls: Loadable): void {
  try {
    calls.C_Finalize()
  } catch (error) {
    if (textOf(error) !== 'CKR_CRYPTOKI_NOT_INITIALIZED') throw error
  }
}

/** By a name in a variable, so that neither the bundle nor the compiler needs what may not be installed. */
async function newModule(): Promise<Loadable> {
  try {
    const { default: found } = await import(packageName)
    return new found.PKCS11() as Loadable
  } catch (cause) {
    throw new AuthorityError(
      'Invalid',
      'The optional package pkcs11js is not installed, or not built for this system; docs/authorities/pkcs11.md says how it gets there.',
      { cause }
    )
  }
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
