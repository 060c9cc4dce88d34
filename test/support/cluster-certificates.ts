/** A CA and server certificates for tests, made by openssl while they run. */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface TestCa {
  certificateFile: string
  privateKeyFile: string
  certificate: string
}

export function makeCa(folder: string, name: string, days = 2): TestCa {
  const certificateFile = join(folder, `${name}.crt`)
  const privateKeyFile = join(folder, `${name}.key`)
  openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-subj', `/CN=${name}`, '-days', String(days)],
    ...['-keyout', privateKeyFile, '-out', certificateFile],
    ...['-addext', 'basicConstraints=critical,CA:TRUE,pathlen:1'],
    ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign']
  )
  return { certificateFile, privateKeyFile, certificate: readFileSync(certificateFile, 'utf8') }
}

/** `names` as openssl spells them: `DNS:localhost,IP:127.0.0.1`. */
export function makePair(folder: string, name: string, ca: TestCa, names: string) {
  const certificateFile = join(folder, `${name}.crt`)
  const privateKeyFile = join(folder, `${name}.key`)
  const request = join(folder, `${name}.csr`)
  const extensions = join(folder, `${name}.cnf`)
  writeFileSync(
    extensions,
    `basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=critical,${names}\n`
  )
  openssl(
    ...['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/'],
    ...['-keyout', privateKeyFile, '-out', request]
  )
  openssl(
    ...['x509', '-req', '-in', request, '-CA', ca.certificateFile, '-CAkey', ca.privateKeyFile],
    ...['-CAcreateserial', '-days', '2', '-extfile', extensions, '-out', certificateFile]
  )
  return { certificateFile, privateKeyFile }
}

/** Standard output; throws with openssl's own words when it fails. */
export function openssl(...argumentsList: string[]): string {
  return execFileSync('openssl', argumentsList, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe']
  })
}
