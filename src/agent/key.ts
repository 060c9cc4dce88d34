import type { KeyObject } from 'node:crypto'
import type { KeyAlgorithm } from '../contract/pod.ts'
import { makeKeyPair } from '../x509/new-key.ts'

/** A private key made in this process. Off the event loop: an RSA key takes seconds, and a signal must not wait for it. */
export async function generateKey(algorithm: KeyAlgorithm): Promise<KeyObject> {
  return (await makeKeyPair(algorithm)).privateKey
}

/** PKCS#8 PEM, which gRPC reads for every algorithm that we make. */
export function encodeKey(privateKey: KeyObject): string {
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
}
