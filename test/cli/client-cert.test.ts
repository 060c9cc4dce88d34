/** `rayguard client-cert` against the stand-in for the Kubernetes API and the real signer. */
import { spawn } from 'node:child_process'
import { createPrivateKey, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  unlinkSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { leavePlace, placeFor, writeClientFiles } from '../../src/cli/client-cert/files.ts'
import { command } from '../../src/cli/client-cert.ts'
import { captureIo, runCommand } from '../support/cli.ts'
import {
  type ClientStageOptions,
  cluster,
  namespace,
  startClientStage
} from '../support/client-stage.ts'
import { clientToken } from '../support/enrollment-stage.ts'

const program = join(import.meta.dirname, '../../dist/rayguard.js')
const four = ['ca.crt', 'env.sh', 'tls.crt', 'tls.key']

async function stage(t: Test, options: ClientStageOptions = {}) {
  const all = await startClientStage(t, options)
  const folder = t.testdir()
  const kubeconfig = join(folder, 'kubeconfig')
  const server = {
    server: all.server,
    'certificate-authority-data': Buffer.from(all.serverCa).toString('base64')
  }
  writeFileSync(
    kubeconfig,
    stringify({
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'a' },
      clusters: [{ name: 'a', cluster: server }],
      users: [{ name: 'a', user: { token: clientToken } }],
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }]
    })
  )
  const directory = join(folder, "alice's files")
  const argumentsFor = (...more: string[]) => [
    ...['-n', namespace, '--kubeconfig', kubeconfig, '--directory', directory],
    ...more
  ]
  const ask = (...more: string[]) => runCommand(command, argumentsFor(cluster, ...more))
  return { ...all, folder, directory, argumentsFor, ask }
}

t.test('the files are there, ready to source, and nothing else', async t => {
  const { ask, directory, standIn } = await stage(t)
  const { code, out, err } = await ask()
  t.equal(code, 0, err)
  t.strictSame(readdirSync(directory).sort(), four)
  t.match(out, `'${directory.replace("'", "'\\''")}/env.sh'`, 'quoted, to be copied')
  const commands = out.split('\n').filter(line => /^ {2}(kubectl|python)/.test(line))
  t.equal(commands.length, 2, 'with the two commands that come next')
  const page = readFileSync('docs/client-certificates.md', 'utf8')
  for (const line of commands) {
    const there = line.replace(`-n ${namespace}`, '-n ray-try').replace(`/${cluster}-`, '/demo-')
    t.ok(page.includes(`\n${there.trim()}\n`), `as the page has it: ${there}`)
  }
  const key = readFileSync(join(directory, 'tls.key'), 'utf8')
  const again = await ask()
  t.match(again, { code: 1, err: /--force/ })
  t.equal(readFileSync(join(directory, 'tls.key'), 'utf8'), key, 'nothing is replaced')
  t.equal(
    standIn.requests.filter(each => /^POST .*requests$/.test(each)).length,
    1,
    'nor asked for'
  )
  t.match(await ask('--force'), { code: 0 })
  t.not(readFileSync(join(directory, 'tls.key'), 'utf8'), key)
})

t.test('what is refused leaves nothing', async t => {
  const { ask, argumentsFor, decide, directory, interfere, standIn } = await stage(t)
  decide(() => 403)
  t.match(await ask(), { code: 1, err: /Forbidden/ })
  t.notOk(existsSync(directory), 'not even the directory')
  interfere(() => ({ status: 403 }))
  t.match(await ask(), { code: 1, err: /you lack a right/ }, 'who may not make requests is told')
  t.notOk(existsSync(directory))
  const odd: [title: string, wishes: string[]][] = [
    ['no RayCluster', []],
    ['two', [cluster, cluster]],
    ['a path', ['../x']],
    ['an empty one', ['']],
    ['a namespace with a slash', [cluster, '-n', 'a/b']],
    ['no duration', [cluster, '--lifetime', 'long']],
    ['too short', [cluster, '--lifetime', '59m']],
    ['no time', [cluster, '--timeout', '0']],
    ['half a second', [cluster, '--timeout', '0.5']]
  ]
  const asked = standIn.requests.length
  for (const [title, wishes] of odd)
    await t.rejects(runCommand(command, argumentsFor(...wishes)), { code: 'Usage' }, title)
  t.equal(standIn.requests.length, asked, 'nothing was asked for')
})

t.test('stopped or never answered: the request is taken back, and no file is left', async t => {
  const { ask, argumentsFor, directory, interfere, until, present } = await stage(t, {
    unstarted: true
  })
  const io = captureIo()
  const ended = command.run(argumentsFor(cluster), io)
  await until(() => present().length > 0)
  io.abort()
  t.equal(await ended, 143)
  t.match(io.err(), /stopped before .* taken back/)
  t.strictSame(present(), [])
  t.notOk(existsSync(directory))

  t.match(await ask('--timeout', '1'), { code: 1, err: /within 1 s.*taken back/ })
  t.strictSame(present(), [])
  interfere(({ method }) => (method === 'DELETE' ? { status: 403 } : undefined))
  t.match(await ask('--timeout', '1'), { code: 1, err: /stays/ }, 'most users may not delete it')
  t.notOk(existsSync(directory))
})

t.test('an API server that is away for a moment does not cost the certificate', async t => {
  const { ask, directory, interfere, present } = await stage(t)
  let away = 3
  interfere(({ method, path }) => {
    if (method !== 'GET' || !/requests\/rayguard-client-/.test(path) || away === 0) return undefined
    away -= 1
    return { status: away === 1 ? 429 : 503 }
  })
  t.match(await ask(), { code: 0 })
  t.equal(away, 0, 'it was')
  t.strictSame(readdirSync(directory).sort(), four)

  const looks = /GET .*requests\/rayguard-client-/
  interfere(({ method, path }) => (looks.test(`${method} ${path}`) ? { status: 403 } : undefined))
  const before = present().length
  t.match(await ask('--force'), { code: 1, err: /you lack a right/ }, 'one who may not look')
  t.equal(present().length, before, 'and the request is taken back')
})

t.test('a process that is stopped, or killed, leaves nothing half done', async t => {
  const { argumentsFor, ask, directory, folder, present, start, until } = await stage(t, {
    unstarted: true
  })
  const begin = (preload = '') => {
    const loaded = preload === '' ? [] : ['--import', `data:text/javascript,${encodeURI(preload)}`]
    const wishes = ['client-cert', ...argumentsFor(cluster, '--force')]
    const child = spawn(process.execPath, [...loaded, program, ...wishes], { stdio: 'ignore' })
    return { child, ended: once(child, 'exit') }
  }
  const stopped = begin()
  await until(() => present().length > 0)
  stopped.child.kill('SIGINT')
  t.strictSame(await stopped.ended, [130, null], 'Ctrl-C')
  t.strictSame(present(), [], 'the request is taken back')
  t.notOk(existsSync(directory), 'and no file is left')

  const killed = begin()
  await until(() => present().length > 0)
  killed.child.kill('SIGKILL')
  await killed.ended
  t.strictSame(readdirSync(directory), [], 'SIGKILL while it waits: there is no key yet')

  // as careless as a directory and a user can be
  chmodSync(directory, 0o755)
  const mask = process.umask(0)
  t.teardown(() => process.umask(mask))
  start()
  const former = join(folder, 'former')
  t.match(await ask('--force'), { code: 0 })
  cpSync(directory, former, { recursive: true })
  for (const [call, count] of [
    ['open', 2],
    ['rename', 2],
    ['rename', 4]
  ] as const) {
    cpSync(former, directory, { recursive: true })
    const [, signal] = await begin(killAt(call, count)).ended
    t.equal(signal, 'SIGKILL', `killed before ${call} ${count}`)
    for (const name of readdirSync(directory)) {
      const file = join(directory, name)
      if (readFileSync(file, 'utf8').includes('PRIVATE KEY') || name.includes('tls.key'))
        t.equal(statSync(file).mode & 0o777, 0o600, `nobody else reads ${name}`)
    }
    t.ok(isPairOrNone(directory), 'a certificate that is there fits the key beside it')
  }
  t.match(await ask('--force'), { code: 0 })
  t.strictSame(readdirSync(directory).sort(), four, 'and nothing of these runs is left')
})

t.test('an answer that is of no use is not written', async t => {
  const { ask, directory, standIn, until, present } = await stage(t, { unstarted: true })
  const ended = ask()
  const [request] = await until(() => present().length > 0 && present())
  const certificate = Buffer.from('junk').toString('base64')
  if (request) standIn.put({ ...request, status: { certificate } })
  t.match(await ended, { code: 1, err: /not a certificate/ })
  t.notOk(existsSync(directory))
})

t.test('the files at the user’s side', async t => {
  const directory = join(t.testdir({ kept: {} }), "it's here")
  const files = { key: 'key\n', certificate: 'certificate\n', trustAnchors: 'anchors\n' }
  const place = await placeFor(directory, false)
  if ('problem' in place) throw new Error(place.problem)
  await writeClientFiles(place, files)
  const mode = (name: string) => statSync(join(directory, name)).mode & 0o777
  t.equal(mode('tls.key'), 0o600)
  t.equal(mode('.') & 0o077, 0, 'nobody else looks into the directory')
  t.match(
    readFileSync(join(directory, 'env.sh'), 'utf8'),
    /^export RAY_TLS_SERVER_KEY='.*it'\\''s here\/tls\.key'$/m
  )
  t.match(await placeFor(directory, false), { problem: /--force/ }, 'nothing is replaced')
  const again = await placeFor(directory, true)
  if ('problem' in again) throw new Error(again.problem)
  await writeClientFiles(again, { ...files, key: 'other\n' })
  t.equal(readFileSync(join(directory, 'tls.key'), 'utf8'), 'other\n')

  const planted = join(directory, '..', 'planted')
  mkdirSync(planted)
  writeFileSync(join(planted, 'elsewhere'), '')
  symlinkSync('elsewhere', join(planted, 'tls.key'))
  t.match(await placeFor(planted, false), { problem: /tls\.key/ }, 'attack 96: a link')
  for (const [mode, title] of [
    [0o777, 'by everybody'],
    [0o775, 'by a group']
  ] as const) {
    chmodSync(planted, mode)
    t.match(
      await placeFor(planted, true),
      { problem: /others may/ },
      `attack 96: replaced ${title}`
    )
  }
  chmodSync(planted, 0o755)
  const link = join(planted, 'link')
  symlinkSync(directory, link)
  t.match(
    await placeFor(link, true),
    { problem: /link/ },
    'attack 96: a directory that is led elsewhere'
  )
  const [lead, real] = [join(planted, 'lead'), join(planted, 'real')]
  mkdirSync(real, { mode: 0o755 })
  symlinkSync(real, lead)
  const led = await placeFor(join(lead, 'deeper', 'mine'), false)
  if ('problem' in led) throw new Error(led.problem)
  t.equal(led.directory, join(real, 'deeper', 'mine'), 'attack 96: a link above is followed once')
  unlinkSync(lead)
  symlinkSync(planted, lead)
  await writeClientFiles(led, files)
  const environment = readFileSync(join(real, 'deeper', 'mine', 'env.sh'), 'utf8')
  t.match(environment, `=${join(real, 'deeper', 'mine', 'tls.key')}\n`, 'and turned in vain')
  unlinkSync(lead)
  symlinkSync(real, lead)
  const left = await placeFor(join(lead, 'other', 'mine'), false)
  if ('problem' in left) throw new Error(left.problem)
  await leavePlace(left)
  t.strictSame(readdirSync(real), ['deeper'], 'what was made for nothing goes')
  const shared = join(planted, 'shared')
  const below = join(shared, 'deeper', 'mine')
  mkdirSync(shared)
  for (const mode of [0o777, 0o770, ...(process.getuid?.() === 0 ? [] : [0o1777])]) {
    chmodSync(shared, mode)
    const moved = { problem: new RegExp(`others may write to ${shared},`) }
    t.match(await placeFor(below, true), moved, 'attack 96: one above is moved away')
    t.strictSame(readdirSync(shared), [], 'and nothing is left there')
  }
  chmodSync(shared, 0o1777)
  if (process.getuid?.() === 0) {
    t.match(await placeFor(below, true), { directory: below }, 'in one like /tmp it is safe')
    chownSync(shared, 65_532, 65_532)
    t.match(
      await placeFor(below, true),
      { problem: /belongs to another user/ },
      'unless it is theirs'
    )
  }
  const forced = await placeFor(planted, true)
  if ('problem' in forced) throw new Error(forced.problem)
  await writeClientFiles(forced, files)
  t.equal(readFileSync(join(planted, 'elsewhere'), 'utf8'), '', 'is never followed')
})

function isPairOrNone(directory: string): boolean {
  const file = (name: string) => readFileSync(join(directory, name))
  if (!existsSync(join(directory, 'tls.crt'))) return true
  return new X509Certificate(file('tls.crt')).checkPrivateKey(createPrivateKey(file('tls.key')))
}

/** For `--import`: the process is killed at this call into the file system, the `count`-th of them. */
function killAt(call: 'open' | 'rename', count: number): string {
  return `
    import files from 'node:fs/promises'
    import { syncBuiltinESMExports } from 'node:module'
    const real = files.${call}
    let left = ${count}
    files.${call} = (...rest) => {
      left -= 1
      if (left === 0) process.kill(process.pid, 'SIGKILL')
      return real(...rest)
    }
    syncBuiltinESMExports()
  `
}
