/** What an authority is asked with for the CA of a Ray cluster, as Rayguard does it. */
import { createPublicKey, type KeyObject } from 'node:crypto'
import type { IntermediateRequest } from '../../src/authority/authority.ts'
import { createIntermediateRequest } from '../../src/x509/intermediate.ts'
import { keyIdentifier } from '../../src/x509/leaf.ts'
import { subjectOf } from '../../src/x509/subject.ts'

export function intermediateRequest(
  key: KeyObject,
  commonName: string,
  lifetimeSeconds: number
): IntermediateRequest {
  const publicKey = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const identity = { subject: subjectOf(commonName), keyIdentifier: keyIdentifier(publicKey) }
  return {
    ...{ ...identity, publicKey, commonName, lifetimeSeconds },
    csr: createIntermediateRequest(key, identity),
    rayCluster: { namespace: 'team-a', name: 'demo', uid: 'demo-cluster-uid' }
  }
}
