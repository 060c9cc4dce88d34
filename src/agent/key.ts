import { generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import type { KeyAlgorithm } from '../contract/pod.ts'

const generate = promisify(generateKeyPair)

/** A private key made in this process. Off the event loop: an RSA key takes seconds, and a signal must not wait for it. */
export async function generateKey(algorithm: KeyAlgorithm): Promise<KeyObject> {
  const { privateKey } = algorithm.startsWith('RSA-')
    ? await generate('rsa', { modulusLength: Number(algorithm.slice(4)) })
    : await generate('ec', { namedCurve: algorithm })
  return privateKey
}

/** PKCS#8 PEM, which gRPC reads for every algorithm that we make. */
export function encodeKey(privateKey: KeyObject): string {
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}
