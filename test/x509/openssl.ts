/** openssl as an independent maker and judge: each call in a directory of its own, nothing but local files. */
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Workshop {
  directory: string
  path(name: string): string
  write(name: string, text: string): string
  read(name: string): string
  /** Runs openssl; throws when it fails. */
  run(...parameters: string[]): string
  /** Exit code and all output. */
  judge(...parameters: string[]): { ok: boolean; output: string }
}

export function openWorkshop(t: { teardown(done: () => void): void }): Workshop {
  const directory = mkdtempSync(join(tmpdir(), 'rayguard-openssl-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return {
    directory,
    path: name => join(directory, name),
    write(name, text) {
      writeFileSync(join(directory, name), text)
      return join(directory, name)
    },
    read: name => readFileSync(join(directory, name), 'utf8'),
    run: (...parameters) =>
      execFileSync('openssl', parameters, { cwd: directory, stdio: 'pipe' }).toString(),
    judge(...parameters) {
      const { status, stdout, stderr } = spawnSync('openssl', parameters, { cwd: directory })
      return { ok: status === 0, output: `${stdout}${stderr}` }
    }
  }
}

/** Parameters of `openssl genpkey`. */
export const keyKinds = {
  'P-256': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  'P-384': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  'P-521': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-521'],
  secp256k1: ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:secp256k1'],
  Ed25519: ['-algorithm', 'ED25519'],
  'RSA-1024': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'],
  'RSA-2048': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
  'RSA-4096': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:4096'],
  'RSA-2048 with e=3': [
    '-algorithm',
    'RSA',
    '-pkeyopt',
    'rsa_keygen_bits:2048',
    '-pkeyopt',
    'rsa_keygen_pubexp:3'
  ],
  'RSA-PSS': ['-algorithm', 'RSA-PSS', '-pkeyopt', 'rsa_keygen_bits:2048']
} as const

export type KeyKind = keyof typeof keyKinds

/** Makes NAME.key. */
export function makeKey(workshop: Workshop, name: string, kind: KeyKind): string {
  workshop.run('genpkey', ...keyKinds[kind], '-out', `${name}.key`)
  return `${name}.key`
}

export interface MadeCa {
  /** Extensions in the words of openssl's x509v3_config. */
  extensions?: string[]
  kind?: KeyKind
  days?: number
  /** The CA that signs it; itself when there is none. */
  issuer?: string
  subject?: string
  parameters?: string[]
}

export const caExtensions = [
  'basicConstraints=critical,CA:TRUE',
  'keyUsage=critical,keyCertSign,cRLSign',
  'subjectKeyIdentifier=hash',
  'authorityKeyIdentifier=keyid'
]

/** Makes NAME.key and NAME.crt. */
export function makeCa(workshop: Workshop, name: string, made: MadeCa = {}): string {
  makeKey(workshop, name, made.kind ?? 'P-256')
  workshop.write(
    `${name}.cnf`,
    `[req]\ndistinguished_name=dn\n[dn]\n[ext]\n${(made.extensions ?? caExtensions).join('\n')}\n`
  )
  const subject = made.subject ?? `/CN=${name}`
  const request = ['-config', `${name}.cnf`, '-key', `${name}.key`, '-subj', subject]
  const days = ['-days', String(made.days ?? 365)]
  const extensions = ['-extfile', `${name}.cnf`, '-extensions', 'ext']
  workshop.run('req', '-new', ...request, '-out', `${name}.csr`)
  const signer =
    made.issuer === undefined
      ? ['-key', `${name}.key`]
      : ['-CA', `${made.issuer}.crt`, '-CAkey', `${made.issuer}.key`]
  workshop.run(
    'x509',
    '-req',
    '-in',
    `${name}.csr`,
    ...signer,
    ...days,
    ...extensions,
    ...(made.parameters ?? []),
    '-out',
    `${name}.crt`
  )
  return workshop.read(`${name}.crt`)
}
