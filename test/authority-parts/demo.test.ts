/** The demonstration with the key of its CA in SoftHSM, as users run it. */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'

const skip = process.env.RAYGUARD_TEST_SKIP
if (skip) {
  t.plan(0, skip)
  process.exit(0)
}

for (const trust of ['per-cluster', 'shared'] as const) {
  t.test(`the demonstration goes as told with an HSM and --trust ${trust}`, async t => {
    const { code, stdout, stderr, folder, atWork } = await demonstrated(t, trust)
    t.equal(code, 0, `exit code; its errors: ${stderr.slice(-500)}`)
    t.match(stdout, /\nAll went as told\.\n$/, 'the last line')
    t.notMatch(stdout, '✗', 'no claim that does not hold')
    const setting = trust === 'shared' ? 'shared' : 'perCluster'
    t.match(stdout, `trust ${setting}, authority pkcs11`, 'it says what it shows')
    const sealing = 'the keys of the CAs of RayClusters are sealed by a key in the HSM'
    const apart = 'each cluster trusts a CA of its own'
    for (const line of [sealing, `✓ ${apart}`]) {
      t.equal(stdout.includes(line), trust === 'per-cluster', `${trust}: ${line}`)
    }
    const other = trust === 'shared' ? '✓ with trust: shared it is let in' : '✓ it is refused'
    t.match(stdout, other, 'what becomes of a pod of another cluster')
    for (const refusal of ['403 SourceAddress', '403 RayClusterNotFound', '503 IPMismatch']) {
      t.match(stdout, refusal, `the refusal ${refusal} is shown`)
    }
    t.notMatch(stdout + stderr, /PRIVATE KEY|264153|eyJ/, 'no key, no PIN and no token is shown')
    t.ok(atWork.size >= 3, 'itself, the server and the process of the library were at work')
    t.strictSame(workingIn(folder), [], 'nothing is left running')
    t.strictSame(readdirSync(folder), [], 'and no file')
  })
}

/** `atWork`: all processes that were seen meanwhile. */
async function demonstrated(t: Test, trust: string) {
  const folder = t.testdir()
  const parameters = ['demo', '--authority', 'pkcs11', '--trust', trust]
  const child = spawn(process.execPath, ['dist/rayguard.js', ...parameters], {
    env: { PATH: process.env.PATH, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []]
  const atWork = new Set<number>()
  const look = () => {
    for (const pid of workingIn(folder)) atWork.add(pid)
  }
  child.stdout.on('data', chunk => {
    stdout.push(chunk)
    look()
  })
  child.stderr.on('data', chunk => stderr.push(chunk))
  const code = await new Promise(resolve => child.once('close', resolve))
  const text = (chunks: Buffer[]) => Buffer.concat(chunks).toString()
  return { code, folder, atWork, stdout: text(stdout), stderr: text(stderr) }
}

/** That have its name in their parameters or in their environment. */
function workingIn(folder: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter(pid => pid > 0 && about(pid).includes(folder))
}

/** Empty for one that has just ended. */
function about(pid: number): string {
  return ['cmdline', 'environ']
    .map(name => {
      try {
        return readFileSync(`/proc/${pid}/${name}`, 'utf8')
      } catch {
        return ''
      }
    })
    .join('\0')
}
