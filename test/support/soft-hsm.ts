/**
 * Tokens of SoftHSM, Debian's software HSM: a real PKCS#11 library over files, in a folder of the test's own.
 *
 * The library finds its settings by a variable, once for the process.
 */
import { execFileSync } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { objectIdentifier } from '../../src/x509/der.ts'

export const libraryFile = '/usr/lib/softhsm/libsofthsm2.so'

export interface SoftHsm {
  /** Returns its slot. */
  makeToken(label: string, pin: string): number
  /** Without a PIN for its user. Returns its slot. */
  makeBlankToken(label: string): number
  /** Puts the private key of a PEM file, PKCS#8, into the token of a label or in a slot. */
  importKey(
    token: string | number,
    pin: string,
    key: { file: string; label: string; id: string }
  ): void
  /** As no tool does it any more: the key can be read in plain text. P-256. */
  importOpen(token: string, pin: string, key: { file: string; label: string }): Promise<void>
  /** pkcs11-tool of OpenSC, logged in. */
  tool(token: string, pin: string, ...parameters: string[]): string
  /** What the tokens say of themselves, such as that a wrong PIN was tried. */
  flags(): string
  /** All tokens are gone, as when the HSM is unplugged. */
  remove(): void
  putBack(): void
}

export function openSoftHsm(directory: string): SoftHsm {
  const tokens = join(directory, 'tokens')
  const away = join(directory, 'tokens-away')
  const settings = join(directory, 'softhsm2.conf')
  mkdirSync(tokens)
  writeFileSync(
    settings,
    `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`
  )
  process.env.SOFTHSM2_CONF = settings
  const run = (command: string, ...parameters: string[]) =>
    execFileSync(command, parameters, { stdio: 'pipe' }).toString()
  const officer = '87654321'
  const flags = () => run('pkcs11-tool', '--module', libraryFile, '--list-token-slots')
  /** SoftHSM gives each token a slot of its own, by a number that it makes itself, and has one more that is free. */
  const slots = (next: 'label' | 'state') =>
    [...flags().matchAll(new RegExp(`slot ID (0x[0-9a-f]+)\\n  token ${next}`, 'g'))].map(
      ([, id]) => Number(id)
    )
  const made = (make: () => void) => {
    const before = slots('label')
    make()
    const [slot] = slots('label').filter(each => !before.includes(each))
    if (slot === undefined) throw new Error('SoftHSM shows no token more')
    return slot
  }
  const util = (...parameters: string[]) => run('softhsm2-util', ...parameters)
  return {
    makeToken: (label, pin) =>
      made(() =>
        util('--init-token', '--free', '--label', label, '--pin', pin, '--so-pin', officer)
      ),
    makeBlankToken: label =>
      made(() => {
        const where = ['--module', libraryFile, '--slot', String(slots('state').at(0))]
        run('pkcs11-tool', ...where, '--init-token', '--label', label, '--so-pin', officer)
      }),
    importKey(token, pin, { file, label, id }) {
      const place = typeof token === 'number' ? ['--slot', String(token)] : ['--token', token]
      const where = [...place, '--pin', pin, '--label', label, '--id', id]
      util('--import', file, '--force', ...where)
    },
    async importOpen(token, pin, { file, label }) {
      // As in src: the package is optional, for the compiler too.
      const packageName = 'pkcs11js'
      const { default: p11 } = await import(packageName)
      const library = new p11.PKCS11()
      library.load(libraryFile)
      library.C_Initialize()
      const slot = library
        .C_GetSlotList(true)
        .find((each: Buffer) => library.C_GetTokenInfo(each).label.startsWith(`${token} `))
      if (slot === undefined) throw new Error('there is no such token')
      const session = library.C_OpenSession(slot, p11.CKF_SERIAL_SESSION | p11.CKF_RW_SESSION)
      library.C_Login(session, p11.CKU_USER, pin)
      const { d = '' } = createPrivateKey(readFileSync(file)).export({ format: 'jwk' })
      library.C_CreateObject(session, [
        { type: p11.CKA_CLASS, value: p11.CKO_PRIVATE_KEY },
        { type: p11.CKA_KEY_TYPE, value: p11.CKK_EC },
        { type: p11.CKA_TOKEN, value: true },
        { type: p11.CKA_PRIVATE, value: true },
        { type: p11.CKA_SENSITIVE, value: false },
        { type: p11.CKA_EXTRACTABLE, value: true },
        { type: p11.CKA_SIGN, value: true },
        { type: p11.CKA_LABEL, value: label },
        { type: p11.CKA_EC_PARAMS, value: Buffer.from(objectIdentifier('1.2.840.10045.3.1.7')) },
        { type: p11.CKA_VALUE, value: Buffer.from(d, 'base64url') }
      ])
      library.C_Finalize()
    },
    tool: (token, pin, ...parameters) =>
      run(
        'pkcs11-tool',
        '--module',
        libraryFile,
        '--token-label',
        token,
        '--login',
        '--pin',
        pin,
        ...parameters
      ),
    flags,
    remove() {
      renameSync(tokens, away)
      mkdirSync(tokens)
    },
    putBack() {
      rmdirSync(tokens)
      renameSync(away, tokens)
    }
  }
}
