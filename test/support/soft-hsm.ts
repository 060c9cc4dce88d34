/**
 * Tokens of SoftHSM, Debian's software HSM: a real PKCS#11 library over files, in a folder of the test's own.
 *
 * The library finds its settings by a variable, once for the process.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const libraryFile = '/usr/lib/softhsm/libsofthsm2.so'

export interface SoftHsm {
  makeToken(label: string, pin: string): void
  /** Puts the private key of a PEM file, PKCS#8, into the token. */
  importKey(token: string, pin: string, key: { file: string; label: string; id: string }): void
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
  const util = (...parameters: string[]) => run('softhsm2-util', ...parameters)
  return {
    makeToken(label, pin) {
      util('--init-token', '--free', '--label', label, '--pin', pin, '--so-pin', '87654321')
    },
    importKey(token, pin, { file, label, id }) {
      const where = ['--token', token, '--pin', pin, '--label', label, '--id', id]
      util('--import', file, '--force', ...where)
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
    flags: () => run('pkcs11-tool', '--module', libraryFile, '--list-token-slots'),
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
