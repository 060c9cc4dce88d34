/**
 * Makes key pairs that can be used without a danger of standing still.
 *
 * Node.js 20 frees the job that has made a key when it collects garbage, and takes the key's lock for that. Whoever asks for
 * the key's details, its curve for one, holds that lock and may be who collects: then the whole process waits for itself, for
 * ever. So a key is read anew from its encoding, and shares no lock with the job. Nothing else in src/ calls
 * `generateKeyPair`.
 */
import {
  createPrivateKey,
  createPublicKey,
  type ECKeyPairOptions,
  generateKeyPair,
  generateKeyPairSync,
  type KeyObject,
  type RSAKeyPairOptions
} from 'node:crypto'
import { promisify } from 'node:util'

export interface KeyPair {
  publicKey: KeyObject
  privateKey: KeyObject
}

export type NewKeyAlgorithm = 'P-256' | 'P-384' | 'RSA-2048' | 'RSA-3072' | 'RSA-4096'

const generate = promisify(generateKeyPair)
const encodings = {
  publicKeyEncoding: { type: 'spki', format: 'der' },
  privateKeyEncoding: { type: 'pkcs8', format: 'der' }
} as const
const onCurve = (namedCurve: string): ECKeyPairOptions<'der', 'der'> => ({
  namedCurve,
  ...encodings
})
const ofBits = (modulusLength: number): RSAKeyPairOptions<'der', 'der'> => ({
  modulusLength,
  ...encodings
})

/** Off the event loop: an RSA key takes seconds. */
export async function makeKeyPair(algorithm: NewKeyAlgorithm): Promise<KeyPair> {
  return algorithm === 'P-256' || algorithm === 'P-384'
    ? readPair(await generate('ec', onCurve(algorithm)))
    : readPair(await generate('rsa', ofBits(Number(algorithm.slice('RSA-'.length)))))
}

/** P-256, in about a millisecond. */
export function makeKeyPairSync(): KeyPair {
  return readPair(generateKeyPairSync('ec', onCurve('P-256')))
}

/** The encoded private key is overwritten. */
function readPair({ privateKey: der }: { privateKey: Buffer }): KeyPair {
  const privateKey = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  der.fill(0)
  return { privateKey, publicKey: createPublicKey(privateKey) }
}
