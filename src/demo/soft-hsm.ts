/**
 * An HSM in software for the demonstration: SoftHSM with a token of its own, in the demonstration's folder, that takes the
 * CA's key.
 */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Debian and Fedora, others, what is built by hand, macOS. */
const libraries = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/pkcs11/libsofthsm2.so',
  '/usr/local/lib/softhsm/libsofthsm2.so',
  '/opt/homebrew/lib/softhsm/libsofthsm2.so'
]
const pin = '264153'
const sealingLabel = 'rayguard-sealing'

export interface OpenedAuthority {
  /** For the settings. */
  authority: Record<string, unknown>
  /** For the process that opens it. */
  environment: Record<string, string>
  /** An HSM seals too, if there is a program that makes a key for that: SoftHSM's own does not. */
  seals?: boolean
}

export class NoSoftHsmError extends Error {
  readonly code = 'NoSoftHsm'

  constructor() {
    super(
      'SoftHSM is not installed: softhsm2-util and libsofthsm2.so were expected, on Debian in the package softhsm2.'
    )
    this.name = 'NoSoftHsmError'
  }
}

/** Moves `ca.key` of the folder into a new token. `path`: where programs are. Throws {@link NoSoftHsmError}. */
export async function keyIntoHsm(
  directory: string,
  authorityDirectory: string,
  path: string
): Promise<OpenedAuthority> {
  const libraryFile = libraries.find(each => existsSync(each))
  if (
    libraryFile === undefined ||
    spawnSync('softhsm2-util', ['--version'], { env: { PATH: path } }).error
  ) {
    throw new NoSoftHsmError()
  }
  const tokens = join(directory, 'tokens')
  const settings = join(directory, 'softhsm2.conf')
  const pinFile = join(directory, 'pin')
  await mkdir(tokens, { mode: 0o700 })
  await writeFile(settings, `directories.tokendir = ${tokens}\nobjectstore.backend = file\n`)
  await writeFile(pinFile, pin, { mode: 0o600 })
  const environment = { PATH: path, SOFTHSM2_CONF: settings }
  const privateKeyFile = join(authorityDirectory, 'ca.key')
  const label = ['--label', 'rayguard']
  util(['--init-token', '--free', ...label, '--pin', pin, '--so-pin', `${pin}0`], environment)
  util(
    ['--import', privateKeyFile, '--token', 'rayguard', '--pin', pin, ...label, '--id', '01'],
    environment
  )
  await rm(privateKeyFile)
  const seals = makeSealingKey(libraryFile, environment)
  return {
    ...{ environment, seals },
    authority: {
      ...{ kind: 'pkcs11', libraryFile, pinFile, tokenLabel: 'rayguard', keyLabel: 'rayguard' },
      certificateFile: join(authorityDirectory, 'ca.crt'),
      ...(seals ? { sealing: { keyLabel: sealingLabel } } : {})
    }
  }
}

/** OpenSC's tool, as the documentation has it. False where it is not installed. */
function makeSealingKey(libraryFile: string, environment: Record<string, string>): boolean {
  const token = ['--module', libraryFile, '--token-label', 'rayguard', '--login', '--pin', pin]
  const key = ['--keygen', '--key-type', 'GENERIC:32', '--usage-sign', '--sensitive']
  const parameters = [...token, ...key, '--label', sealingLabel, '--id', '02']
  return spawnSync('pkcs11-tool', parameters, { env: environment }).status === 0
}

function util(parameters: string[], environment: Record<string, string>): void {
  const { status, stderr } = spawnSync('softhsm2-util', parameters, {
    encoding: 'utf8',
    env: environment
  })
  if (status !== 0) throw new Error(`softhsm2-util failed: ${stderr}`)
}
