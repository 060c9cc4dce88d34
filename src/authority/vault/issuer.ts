/**
 * The issuing CA of a PKI mount and those above it, as Vault shows them to everybody
 * (https://developer.hashicorp.com/vault/api-docs/secret/pki, "Read issuer certificate").
 */
import { X509Certificate } from 'node:crypto'
import { AuthorityError } from '../authority.ts'
import { faultOf } from './faults.ts'
import type { Transport } from './transport.ts'

/** PEM, the issuing CA first. Throws AuthorityError. */
export async function readIssuer(
  transport: Transport,
  mount: string,
  issuerRef: string
): Promise<string> {
  const path = `${mount}/issuer/${issuerRef}/json`
  const reply = await transport.call({ method: 'GET', path, repeatable: true, ahead: true })
  // Asked without a token; Vault says 403 where nothing is.
  if (reply.status === 403 || reply.status === 404) {
    throw new AuthorityError(
      'Refused',
      `Vault answers ${path} with ${reply.status}: there is no PKI secrets engine at authority.mount, or it is older than Vault 1.11.`
    )
  }
  if (reply.status !== 200) throw faultOf(reply, path, [])
  const { certificate, ca_chain: above } = (reply.body.data ?? {}) as Record<string, unknown>
  if (typeof certificate !== 'string') {
    throw new AuthorityError('Unavailable', `Vault shows no certificate at ${path}.`)
  }
  const others = Array.isArray(above) ? above.filter(each => typeof each === 'string') : []
  return oneChain(certificate, others)
}

/**
 * A CA that is cross-signed has several above it: the first of each is taken, since one chain is enough. A root that was
 * renewed with its key is no CA above itself, though Vault tells each of its certificates as one above the other.
 */
function oneChain(certificate: string, others: string[]): string {
  const chain = [opened(certificate)]
  const rest = others.map(opened)
  for (let lowest = chain[0]; lowest !== undefined; lowest = chain.at(-1)) {
    const next = rest.find(candidate => isAbove(candidate, chain))
    if (next === undefined) break
    chain.push(next)
  }
  return chain.map(each => each.toString()).join('')
}

function opened(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem)
  } catch (cause) {
    throw new AuthorityError('Invalid', 'Vault shows a CA that OpenSSL does not take.', { cause })
  }
}

function isAbove(candidate: X509Certificate, chain: readonly X509Certificate[]): boolean {
  const highest = chain.at(-1)
  return (
    highest !== undefined &&
    chain.every(known => !known.publicKey.equals(candidate.publicKey)) &&
    highest.checkIssued(candidate) &&
    highest.verify(candidate.publicKey)
  )
}
