/** `rayguard client-cert` against the stand-in for the Kubernetes API and the real signer. */
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { placeFor, writeClientFiles } from '../../src/cli/client-cert/files.ts'
import { command } from '../../src/cli/client-cert.ts'
import { captureIo, runCommand } from '../support/cli.ts'
import {
  type ClientStageOptions,
  cluster,
  namespace,
  startClientStage
} from '../support/client-stage.ts'
import { clientToken } from '../support/enrollment-stage.ts'

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
  t.match(out, `service/${cluster}-head-svc 10001`)
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
  t.match(await placeFor(planted, false), { problem: /tls\.key/ }, 'attack: a link')
  chmodSync(planted, 0o777)
  t.match(await placeFor(planted, true), { problem: /everybody/ }, 'attack: replaced afterwards')
  chmodSync(planted, 0o755)
  const forced = await placeFor(planted, true)
  if ('problem' in forced) throw new Error(forced.problem)
  await writeClientFiles(forced, files)
  t.equal(readFileSync(join(planted, 'elsewhere'), 'utf8'), '', 'is never followed')
})
