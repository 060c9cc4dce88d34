/**
 * A PKCS#11 library whose logins and signatures come back only while its gate is open: an HSM as slow as a test wants. It also
 * says of its tokens what SoftHSM never does.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { libraryFile as softHsm } from './soft-hsm.ts'

export interface GatedToken {
  libraryFile: string
  /** For what is called from now on. */
  shut(): void
  open(): void
  /** With the next signature the HSM is gone, until the library is initialized anew. */
  lose(): void
  /** CK_TOKEN_INFO flags beside those of SoftHSM (PKCS#11 2.40 §3.2). */
  say(flags: number): void
  /** A return value for each login; 0: that of SoftHSM. */
  answer(value: number): void
  /** How many were tried. */
  logins(): number
  /** That have loaded this library. */
  processes(): number[]
}

const source = fileURLToPath(new URL('gated-token.c', import.meta.url))
const headers = fileURLToPath(
  new URL('../../node_modules/pkcs11js/includes/pkcs11', import.meta.url)
)

/** Over the tokens of SoftHSM. It finds its gate by a variable of this process. */
export function openGatedToken(directory: string): GatedToken {
  const libraryFile = join(directory, 'gated-token.so')
  const gate = join(directory, 'gate')
  execFileSync('cc', [
    ...['-shared', '-fPIC', '-I', headers, `-DSOFTHSM="${softHsm}"`],
    ...['-o', libraryFile, source, '-lpthread', '-ldl']
  ])
  process.env.GATED_TOKEN_GATE = gate
  return {
    libraryFile,
    shut: () => writeFileSync(gate, ''),
    open: () => rmSync(gate, { force: true }),
    lose: () => writeFileSync(`${gate}.lost`, ''),
    say: flags => writeFileSync(`${gate}.flags`, flags.toString(16)),
    answer: value => writeFileSync(`${gate}.answer`, value.toString(16)),
    logins: () =>
      existsSync(`${gate}.logins`)
        ? readFileSync(`${gate}.logins`, 'utf8').split('\n').length - 1
        : 0,
    processes: () =>
      readdirSync('/proc')
        .map(Number)
        .filter(pid => pid > 0 && loadedBy(pid).includes(libraryFile))
  }
}

/** Empty for one that has just ended. */
function loadedBy(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8')
  } catch {
    return ''
  }
}
