import { mkdir, rename, symlink, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { limits } from '../../src/server/limits.ts'
import { createListener } from '../../src/server/listener.ts'
import { opsRoutes } from '../../src/server/ops-routes.ts'
import { createReadiness } from '../../src/server/readiness.ts'
import { checkPair, type LoadedPair, readPair } from '../../src/server/serving-pair.ts'
import { createServingReload } from '../../src/server/serving-reload.ts'
import { shutDown } from '../../src/server/shutdown.ts'
import type { ServingPair } from '../../src/server/tls.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { createMetrics } from '../../src/telemetry/metrics.ts'
import { day, fromNow, issue, newAuthority, newKey } from '../support/hand-made-certificates.ts'

const ca = newAuthority('lifecycle CA')
const log = createLogger({ level: 'error' })

function pairWith(dates: { notBefore?: Date; notAfter?: Date } = {}): ServingPair {
  const key = newKey()
  return {
    certificate: issue(ca, { key, dnsNames: ['localhost'], ...dates }),
    privateKey: key.export({ type: 'pkcs8', format: 'pem' }) as string
  }
}

interface Folder {
  files: { certificateFile: string; privateKeyFile: string }
  write(pair: Partial<ServingPair>): Promise<void>
}

function folderFor(t: Test): Folder {
  const folder = t.testdir({})
  const files = {
    certificateFile: join(folder, 'tls.crt'),
    privateKeyFile: join(folder, 'tls.key')
  }
  return {
    files,
    async write({ certificate, privateKey }) {
      if (certificate !== undefined) await writeFile(files.certificateFile, certificate)
      if (privateKey !== undefined) await writeFile(files.privateKeyFile, privateKey)
    }
  }
}

t.test(
  'a pair that cannot be used is refused with a code, the setting at fault and no word of the key',
  async t => {
    const { files, write } = folderFor(t)
    const good = pairWith()
    const other = pairWith()
    const code = async () => {
      try {
        checkPair(await readPair(files), files, Date.now())
        return 'ok'
      } catch (error) {
        const { code, setting, message } = error as {
          code: string
          setting: string
          message: string
        }
        t.notMatch(message, /BEGIN|MIG|[A-Za-z0-9+/]{60}/, `${code}: nothing of the files is shown`)
        return `${code} ${setting}`
      }
    }
    t.equal(await code(), 'Unreadable serving.certificateFile', 'no file')
    await write({ certificate: good.certificate })
    t.equal(await code(), 'Unreadable serving.privateKeyFile', 'no key')
    await write(good)
    t.equal(await code(), 'ok', 'a good pair')
    await write({ privateKey: other.privateKey })
    t.equal(await code(), 'Mismatch serving.privateKeyFile', 'another key')
    await write({ privateKey: good.privateKey.slice(0, 80) })
    t.equal(await code(), 'Malformed serving.privateKeyFile', 'half a key')
    await write({ ...good, certificate: good.privateKey })
    t.equal(
      await code(),
      'Malformed serving.certificateFile',
      'a key in the place of the certificate'
    )
    await write(pairWith({ notBefore: fromNow(-2 * day), notAfter: fromNow(-day) }))
    t.equal(await code(), 'Expired serving.certificateFile', 'one that is over')
    await write(pairWith({ notBefore: fromNow(day) }))
    t.equal(await code(), 'NotYetValid serving.certificateFile', 'one that has not begun')
    const directory = { ...files, certificateFile: join(files.certificateFile, '..') }
    await t.rejects(readPair(directory), { code: 'Unreadable', message: /EISDIR/ }, 'a directory')
  }
)

t.test('changed files are taken when they are whole, and never before', async t => {
  const { files, write } = folderFor(t)
  const first = pairWith()
  await write(first)
  const used: LoadedPair[] = []
  const told: string[] = []
  let now = Date.now()
  const reload = createServingReload({
    files,
    initial: checkPair(first, files, now),
    clock: () => now,
    use: pair => used.push(pair),
    onDone: () => told.push('done'),
    onFailed: error => told.push((error as { code: string }).code)
  })
  await reload.look()
  t.strictSame(told, [], 'nothing has changed')

  const second = pairWith()
  await write({ certificate: second.certificate })
  await reload.look()
  await reload.look()
  t.strictSame(told, ['Mismatch'], 'half a pair is refused, and spoken of once')
  t.equal(reload.current().certificate, first.certificate, 'the first one stays')
  await write({ privateKey: second.privateKey })
  await reload.look()
  t.strictSame(told, ['Mismatch', 'done'], 'the whole pair is taken')
  t.equal(used.at(-1)?.certificate, second.certificate, 'and handed on')

  for (const _ of ['a mistake', 'the same again']) {
    await write({ certificate: 'garbage' })
    await reload.look()
    await reload.look()
    await write(second)
    await reload.look()
    await reload.look()
    t.strictSame(told.splice(2), ['Malformed', 'done'], 'told once, and that it is over')
  }
  t.equal(used.length, 1, 'what was in use all the time is not handed on anew')

  const later = pairWith({ notBefore: fromNow(day) })
  await write(later)
  await reload.look()
  now += 2 * day
  await reload.look()
  t.strictSame(told.slice(2), ['NotYetValid', 'done'], 'a pair is taken when its day has come')
  t.equal(reload.current().certificate, later.certificate, 'without another change of the files')
  t.equal(used.length, 2, 'what was refused was never handed on')
})

t.test(
  'the exchange of a mounted Secret, a symbolic link to another directory, is seen',
  async t => {
    const folder = t.testdir({})
    const files = {
      certificateFile: join(folder, 'tls.crt'),
      privateKeyFile: join(folder, 'tls.key')
    }
    const publish = async (name: string, pair: ServingPair) => {
      await mkdir(join(folder, name))
      await writeFile(join(folder, name, 'tls.crt'), pair.certificate)
      await writeFile(join(folder, name, 'tls.key'), pair.privateKey)
      await symlink(name, join(folder, '..data_tmp'))
      await rename(join(folder, '..data_tmp'), join(folder, '..data'))
    }
    const first = pairWith()
    await publish('..1', first)
    await symlink('..data/tls.crt', files.certificateFile)
    await symlink('..data/tls.key', files.privateKeyFile)
    let done = () => {}
    const taken = new Promise<void>(resolve => {
      done = resolve
    })
    const reload = createServingReload({
      files,
      initial: checkPair(await readPair(files), files, Date.now()),
      clock: Date.now,
      use() {},
      onDone: done,
      onFailed: error => t.fail(String(error))
    })
    reload.start(5)
    // The reload itself keeps no process alive.
    const alive = setInterval(() => {}, 1_000)
    t.teardown(() => clearInterval(alive))
    const second = pairWith()
    await publish('..2', second)
    await taken
    reload.stop()
    t.equal(reload.current().certificate, second.certificate, 'the new pair is in use')
  }
)

t.test('a pair that a listener does not take is not taken', async t => {
  const { files, write } = folderFor(t)
  const first = pairWith()
  const failed: unknown[] = []
  const reload = createServingReload({
    files,
    initial: checkPair(first, files, Date.now()),
    clock: Date.now,
    use() {
      throw new Error('no')
    },
    onDone: () => t.fail('it was not used'),
    onFailed: error => failed.push(error)
  })
  await write(pairWith())
  await reload.look()
  t.match(failed, [{ message: 'no' }], 'the problem is told')
  t.equal(reload.current().certificate, first.certificate, 'the first one stays')
})

function get(
  port: number,
  path: string,
  method = 'GET'
): Promise<{ status: number; text: string; type: string; connection: string }> {
  return new Promise((resolve, reject) => {
    httpRequest({ host: '127.0.0.1', port, path, method, agent: false }, response => {
      let text = ''
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          text,
          type: response.headers['content-type'] ?? '',
          connection: response.headers.connection ?? ''
        })
      )
    })
      .on('error', reject)
      .end()
  })
}

async function startOps(t: Test) {
  const readiness = createReadiness()
  const metrics = createMetrics({ version: '1.2.3' })
  const ops = await createListener({
    name: 'ops',
    address: '127.0.0.1',
    port: 0,
    limits: limits.ops,
    register: opsRoutes({ readiness, metrics }),
    requestId: () => 'id',
    log
  })
  t.teardown(async () => {
    ops.cut()
    await ops.close()
  })
  const { port } = await ops.start()
  return { ops, port, readiness, metrics }
}

t.test('probes and metrics', async t => {
  const { port, readiness, metrics } = await startOps(t)
  t.match(await get(port, '/livez'), { status: 200, text: 'ok\n' }, 'alive from the start')
  t.equal((await get(port, '/readyz')).status, 503, 'without a check it is not ready')
  let watch: string | undefined = 'not synced'
  readiness.add('watch', () => watch)
  readiness.add('certificate', () => undefined)
  metrics.check('watch', () => watch === undefined)
  const unready = await get(port, '/readyz')
  t.equal(unready.status, 503, 'not ready while a check fails')
  t.strictSame(
    JSON.parse(unready.text),
    { ready: false, checks: { watch: 'not synced', certificate: 'ok' } },
    'each check is named'
  )
  t.match(
    (await get(port, '/metrics')).text,
    /rayguard_ready_check\{check="watch"\} 0/,
    'in the metrics, too'
  )
  watch = undefined
  t.equal((await get(port, '/readyz')).status, 200, 'ready when all pass')
  const text = await get(port, '/metrics')
  t.match(text.type, /^text\/plain/, 'metrics are text')
  t.match(text.text, /rayguard_ready_check\{check="watch"\} 1/, 'and current')
  t.match(text.text, /rayguard_info\{version="1\.2\.3"\} 1/, 'with the version')
  let isKnown = false
  readiness.add('authority', () => 'it is away', { gates: () => !isKnown })
  t.equal((await get(port, '/readyz')).status, 503, 'what only has to be known once is waited for')
  isKnown = true
  const told = await get(port, '/readyz')
  t.equal(told.status, 200, 'and keeps nobody away after that')
  t.match(
    JSON.parse(told.text),
    { ready: true, checks: { authority: 'it is away', watch: 'ok' } },
    'but is told'
  )
  t.equal((await get(port, '/readyz', 'POST')).status, 405, 'nothing can be posted')
  t.equal((await get(port, '/debug')).status, 404, 'and there is nothing else')
})

interface Step {
  milliseconds: number
  done(): void
}

/** A sleep whose ends the test chooses; resolves with the next one that has begun. */
function steppedSleep() {
  const steps: Step[] = []
  return {
    steps,
    sleep: (milliseconds: number, signal?: AbortSignal) =>
      new Promise<void>(resolve => {
        steps.push({ milliseconds, done: resolve })
        signal?.addEventListener('abort', () => resolve())
      })
  }
}

async function startSlow(t: Test) {
  let letGo = () => {}
  const gate = new Promise<void>(resolve => {
    letGo = resolve
  })
  let arrived = () => {}
  const underWay = new Promise<void>(resolve => {
    arrived = resolve
  })
  const listener = await createListener({
    name: 'webhook',
    address: '127.0.0.1',
    port: 0,
    limits: limits.webhook,
    requestId: () => 'id',
    log,
    register(app) {
      app.get('/', (_request, reply) => reply.send('ok'))
      app.get('/slow', async () => {
        arrived()
        await gate
        return 'slow'
      })
    }
  })
  t.teardown(async () => {
    listener.cut()
    await listener.close()
  })
  const { port } = await listener.start()
  return { listener, port, letGo: () => letGo(), underWay }
}

t.test(
  'at the end: not ready at once, serving through the drain, then everything under way is answered',
  async t => {
    const { ops, port: opsPort, readiness } = await startOps(t)
    const { listener, port, letGo, underWay } = await startSlow(t)
    readiness.add('watch', () => undefined)
    const order: string[] = []
    const { steps, sleep } = steppedSleep()
    const finished = shutDown({
      readiness,
      listeners: [listener],
      ops,
      closers: [() => void order.push('watches'), async () => void order.push('client')],
      drainMs: 5_000,
      deadlineMs: 25_000,
      log,
      sleep
    })
    t.match(
      await get(opsPort, '/readyz'),
      { status: 503, text: /"shutdown":"shutting down"/ },
      'not ready'
    )
    t.equal((await get(opsPort, '/livez')).status, 200, 'but alive')
    t.match(await get(port, '/'), { status: 200, connection: 'close' }, 'requests are still taken')
    t.strictSame(
      steps.map(({ milliseconds }) => milliseconds).sort(),
      [25_000, 5_000],
      'for the drain, within the deadline'
    )
    const slow = get(port, '/slow')
    await underWay
    steps.find(({ milliseconds }) => milliseconds === 5_000)?.done()
    letGo()
    t.match(await slow, { status: 200, text: 'slow' }, 'what was under way is answered')
    t.equal(await finished, true, 'all in time')
    t.strictSame(order, ['watches', 'client'], 'then what they used is closed, in order')
    await t.rejects(get(port, '/'), 'the listener is gone')
    await t.rejects(get(opsPort, '/livez'), 'and so are the probes')
  }
)

t.test('at the deadline what hangs is cut', async t => {
  const { ops, readiness } = await startOps(t)
  const { listener, port, underWay } = await startSlow(t)
  const slow = get(port, '/slow')
  const cut = t.rejects(slow, 'the request that hangs')
  await underWay
  const { steps, sleep } = steppedSleep()
  const finished = shutDown({
    readiness,
    listeners: [listener],
    ops,
    closers: [],
    drainMs: 0,
    deadlineMs: 1,
    log,
    sleep
  })
  for (const { done } of steps) done()
  t.equal(await finished, false, 'not all in time')
  await cut
})
