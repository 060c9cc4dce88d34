/** What somebody without the authority can write for the CA of a RayCluster: a key of their own, not sealed. */
import { createPrivateKey } from 'node:crypto'
import type { RayClusterReference } from '../../src/authority/authority.ts'
import { commonNameOf, type OwnCa } from '../../src/authority/per-cluster/entries.ts'
import { caExtensions, makeCa, type Workshop } from '../x509/openssl.ts'

export const clusterCaExtensions = [
  'basicConstraints=critical,CA:TRUE,pathlen:0',
  ...caExtensions.slice(1)
]

/** What a signer gives to anybody who may ask it for a leaf of any subject. */
export const leafExtensions = [
  'basicConstraints=critical,CA:FALSE',
  'keyUsage=critical,digitalSignature',
  'extendedKeyUsage=clientAuth'
]

/** With the right name and form. `issuer`: as in {@link makeCa}; by default it signs itself. */
export function forgedOwnCa(
  workshop: Workshop,
  rayCluster: RayClusterReference,
  issuer?: string,
  extensions: string[] = clusterCaExtensions
): OwnCa {
  const name = `forged-${issuer ?? 'self'}`
  const certificate = makeCa(workshop, name, {
    extensions,
    subject: `/O=Rayguard/CN=${commonNameOf(rayCluster)}`,
    ...(issuer === undefined ? {} : { issuer })
  })
  return { ...rayCluster, trust: 'perCluster', certificate, key: plainKey(workshop, name) }
}

/** NAME.key as an authority that seals nothing keeps it. */
export function plainKey(workshop: Workshop, name: string): { plain: string } {
  const key = createPrivateKey(workshop.read(`${name}.key`))
  return { plain: key.export({ type: 'pkcs8', format: 'der' }).toString('base64') }
}
