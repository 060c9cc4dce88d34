/**
 * The authority over a key in an HSM: its certificates are a file, its signatures come from the token.
 *
 * Decides that key and certificate belong together by a signature, which proves the whole way at once.
 */
import { type KeyObject, verify } from 'node:crypto'
import { chainOf } from '../anchor-file.ts'
import { AuthorityError, type KeyProtection } from '../authority.ts'
import { createLocalIssuer, type LocalIssuer } from '../local.ts'
import type { AuthorityOptions } from '../options.ts'
import { readCertificates } from '../pem-files.ts'
import type { SigningKey } from '../pem-key.ts'
import { isRefused, noRefusedPin } from '../refused-pin.ts'
import { createReloadedAuthority, type ReloadedAuthority } from '../reloaded-authority.ts'
import { faultOf } from './faults.ts'
import { readPin } from './pin.ts'
import { openSealing } from './sealing.ts'
import { type SignatureForm, signatureForm } from './signature-form.ts'
import type { TokenSettings } from './token.ts'
import type { TokenKey } from './token-key.ts'
import { createTokenProcess } from './token-process.ts'

export interface TokenAuthoritySettings extends TokenSettings {
  kind: 'pkcs11'
  certificateFile: string
  libraryFile: string
  pinFile: string
}

const timeoutMs = 10_000
const pauseMs = 1_000

/** Throws AuthorityError. */
export async function openTokenAuthority(
  settings: TokenAuthoritySettings,
  options: AuthorityOptions
): Promise<ReloadedAuthority> {
  // Before the HSM is asked: what is wrong with a file needs no login.
  const first = await readCertificates(settings)
  const { algorithm } = formOf(first, options).form
  const keyType = algorithm.keyType === 'rsa' ? 'rsa' : 'ec'
  const refusedPin = options.refusedPin ?? noRefusedPin(options.random)
  if (isRefused(refusedPin, await readPin(settings.pinFile)))
    throw faultOf(new Error('CKR_PIN_INCORRECT'))
  const { kind: _, certificateFile: __, ...token } = settings
  const key = createTokenProcess(
    { ...token, keyType, timeoutMs, pauseMs },
    refusedPin,
    options.tokenHost
  )
  try {
    const warnings = await key.connect()
    const protection = await protectionBy(key, settings, options)
    return await createReloadedAuthority<string>(
      first,
      {
        read: () => readCertificates(settings),
        mark: text => text,
        issuerOf,
        warnings: () => warnings,
        protection,
        close: key.close
      },
      options
    )
  } catch (error) {
    await key.close()
    throw error
  }

  async function issuerOf(certificates: string): Promise<LocalIssuer> {
    const { chain, form } = formOf(certificates, options)
    const signingKey = await provenKey(key, form, chain.publicKey)
    return createLocalIssuer('pkcs11', chain, signingKey, options)
  }
}

function formOf(certificates: string, options: AuthorityOptions) {
  const chain = chainOf(certificates, options)
  const form = signatureForm(chain.publicKey)
  if (form !== undefined) return { chain, form }
  throw new AuthorityError(
    'Invalid',
    `The key of the issuing CA, "${chain.subject}", is of a kind that is not used in tokens here; P-256, P-384 or RSA was expected.`
  )
}

async function protectionBy(
  key: TokenKey,
  { sealing }: TokenAuthoritySettings,
  { random }: AuthorityOptions
): Promise<KeyProtection | undefined> {
  const hasFormer = sealing?.former !== undefined
  return sealing && (await openSealing({ key, hasFormer, random }))
}

async function provenKey(
  key: TokenKey,
  form: SignatureForm,
  publicKey: KeyObject
): Promise<SigningKey> {
  const proof = Buffer.from('rayguard: does this key belong to this certificate?')
  const { algorithm, mechanism, size } = form
  const sign = async (bytes: Uint8Array) =>
    form.finish(await key.sign({ mechanism, size }, form.prepare(bytes)))
  if (!verify(algorithm.hash, proof, publicKey, await sign(proof))) {
    throw new AuthorityError(
      'Invalid',
      'The key in the token does not belong to the issuing CA in certificateFile.'
    )
  }
  return { algorithm, sign }
}
