/**
 * A small signer, by openssl: reads a certificate request as any CA would and signs what it asks for, unless a test bends
 * it. It stands in for the signers that companies run; what it writes is judged by others.
 */
import { X509Certificate } from 'node:crypto'
import type { Workshop } from '../x509/openssl.ts'

/** What a signer may do wrong. */
export type Bend =
  | 'a name more'
  | 'a name less'
  | 'a CA'
  | 'a longer life'
  | 'another key'
  | 'a server alone'
  | 'another CA'
  // Of the CA of a RayCluster:
  | 'no path length'
  | 'name constraints'
  | 'a leaf'
  | 'another encoding'
  | 'another identifier'

export interface Signing {
  /** PEM. */
  csr: string
  /** Made by `makeCa`. With `another CA` there is one of the name `stranger` too. */
  ca: string
  /** Whole days. */
  lifetimeSeconds: number
  bend?: Bend | undefined
  /** A CA of path length 0. */
  isCA?: boolean | undefined
}

let count = 0

/** PEM of the certificate alone. */
export function signRequest(workshop: Workshop, signing: Signing): string {
  const { csr, lifetimeSeconds, bend, isCA } = signing
  const ca = bend === 'another CA' ? 'stranger' : signing.ca
  count += 1
  const name = `signed-${count}`
  workshop.write(`${name}.csr`, csr)
  const form = isCA
    ? authorityExtensions(askedIdentifier(workshop, name), bend)
    : extensions(askedNames(workshop, name), bend)
  workshop.write(`${name}.cnf`, form.join('\n'))
  const days = lifetimeSeconds / 86_400 + (bend === 'a longer life' ? 30 : 0)
  workshop.run(
    ...['x509', '-req', '-in', `${name}.csr`, '-CA', `${ca}.crt`, '-CAkey', `${ca}.key`],
    ...['-days', String(days), '-extfile', `${name}.cnf`, '-out', `${name}.crt`],
    // In UTF8String, whatever the request has.
    ...(bend === 'another encoding' ? ['-subj', subjectIn(workshop, name)] : []),
    ...(bend === 'another key' ? ['-force_pubkey', publicKeyOf(workshop, ca)] : [])
  )
  return workshop.read(`${name}.crt`)
}

function subjectIn(workshop: Workshop, name: string): string {
  const text = workshop.run('req', '-in', `${name}.csr`, '-noout', '-subject', '-nameopt', 'compat')
  return text.trim().replace(/^subject=\s*/, '')
}

function askedIdentifier(workshop: Workshop, name: string): string {
  const text = workshop.run('req', '-in', `${name}.csr`, '-noout', '-text')
  const [, asked = 'hash'] = /Subject Key Identifier:[^\n]*\n\s*([0-9A-F:]+)/.exec(text) ?? []
  return asked
}

function askedNames(workshop: Workshop, name: string): string[] {
  const text = workshop.run('req', '-in', `${name}.csr`, '-noout', '-text')
  const [, asked = ''] = /Subject Alternative Name:[^\n]*\n\s*([^\n]+)/.exec(text) ?? []
  return asked.replaceAll('IP Address:', 'IP:').split(', ')
}

function extensions(asked: string[], bend: Bend | undefined): string[] {
  const more = bend === 'a name more' ? ['DNS:head.other-team.svc.cluster.local'] : []
  const names = [...(bend === 'a name less' ? asked.slice(0, -1) : asked), ...more]
  return [
    `basicConstraints=critical,CA:${bend === 'a CA' ? 'TRUE' : 'FALSE'}`,
    'keyUsage=critical,digitalSignature',
    `extendedKeyUsage=serverAuth${bend === 'a server alone' ? '' : ',clientAuth'}`,
    `subjectAltName=critical,${names.join(',')}`,
    'authorityKeyIdentifier=keyid'
  ]
}

function authorityExtensions(identifier: string, bend: Bend | undefined): string[] {
  const room = bend === 'no path length' ? '' : ',pathlen:0'
  const isAuthority = bend === 'a leaf' ? 'FALSE' : `TRUE${room}`
  return [
    `basicConstraints=critical,CA:${isAuthority}`,
    'keyUsage=critical,keyCertSign,cRLSign',
    `subjectKeyIdentifier=${bend === 'another identifier' ? 'hash' : identifier}`,
    'authorityKeyIdentifier=keyid',
    ...(bend === 'name constraints' ? ['nameConstraints=permitted;DNS:a.test'] : [])
  ]
}

function publicKeyOf(workshop: Workshop, ca: string): string {
  const { publicKey } = new X509Certificate(workshop.read(`${ca}.crt`))
  return workshop.write(`${ca}.pub`, publicKey.export({ type: 'spki', format: 'pem' }) as string)
}
