import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { enroll } from '../../src/agent/agent.ts'
import { command } from '../../src/cli/enroll.ts'
import { summaries } from '../../src/cli/main-help.ts'
import { agentVariables } from '../../src/contract/pod.ts'
import {
  environmentFor,
  newPlace,
  optionsFor,
  type Place,
  run,
  token
} from '../support/agent-run.ts'
import {
  type EnrollmentStandIn,
  refuses,
  startEnrollmentStandIn
} from '../support/enrollment-stand-in.ts'

const program = join(import.meta.dirname, '../../dist/rayguard.js')
const names = ['ca.crt', 'tls.crt', 'tls.key']

async function standIn(t: Test) {
  const server = await startEnrollmentStandIn()
  t.teardown(server.close)
  return server
}

function argumentsFor(place: Place): string[] {
  return [
    ...['--directory', place.directory],
    ...['--token-file', place.tokenFile],
    ...['--termination-log', place.terminationLog]
  ]
}

interface Ended {
  code: number | null
  signal: string | null
  stderr: string
}

/** A real process from dist/, with nothing in its environment but what is given. */
function start(
  place: Place,
  environment: Record<string, string>,
  more: string[] = [],
  nodeOptions: string[] = []
): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(
    process.execPath,
    [...nodeOptions, program, 'enroll', ...argumentsFor(place), ...more],
    { env: environment, stdio: ['ignore', 'ignore', 'pipe'] }
  )
  let stderr = ''
  child.stderr?.on('data', data => {
    stderr += data
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stderr }))
  return { child, ended }
}

/** Resolves when the server has been asked so often. */
async function asked(server: EnrollmentStandIn, times: number, meanwhile: () => void) {
  await new Promise<void>(resolve => {
    server.answers.push(
      ...Array.from({ length: times - 1 }, () => refuses(503, 'IPNotVisible')),
      (received, reply) => {
        meanwhile()
        refuses(503, 'IPNotVisible')(received, reply)
        resolve()
      },
      ...Array.from({ length: 50 }, () => refuses(503, 'IPNotVisible'))
    )
  })
}

const contents = (place: Place) =>
  Object.fromEntries(
    readdirSync(place.directory).map(name => [
      name,
      readFileSync(join(place.directory, name), 'utf8')
    ])
  )
const lastWords = (place: Place) => JSON.parse(readFileSync(place.terminationLog, 'utf8'))

t.test(
  'The program writes a set, leaves a summary for the status, and keeps the set the next time',
  async t => {
    const server = await standIn(t)
    const place = newPlace(t)
    const first = await start(place, environmentFor(server)).ended
    t.match(first, { code: 0, signal: null }, 'it ends well')
    t.same(readdirSync(place.directory).sort(), names, 'the files are there')
    const summary = lastWords(place)
    t.match(summary, { serialNumber: /^[0-9a-f]+$/, anchorSha256: /^[0-9a-f]{64}$/ })
    t.ok(Date.parse(summary.notAfter) > Date.now(), 'with the end of the certificate')
    t.match(JSON.parse(first.stderr), { level: 'info' }, 'one line is logged')
    t.notMatch(first.stderr, token, 'without the token')

    writeFileSync(place.terminationLog, '')
    const again = await start(place, environmentFor(server)).ended
    t.match(again, { code: 0, stderr: /Kept/ }, 'the second run keeps it')
    t.equal(server.received.length, 1, 'and asks nobody')
    t.same(lastWords(place), summary, 'the status says the same')
  }
)

t.test('A refusal ends the program with 1 and its reason in log and status', async t => {
  const server = await standIn(t)
  server.answers.push(refuses(403, 'PodHostNetwork'))
  const place = newPlace(t)
  const { code, stderr } = await start(place, environmentFor(server)).ended
  t.equal(code, 1, 'refused')
  t.match(lastWords(place), {
    code: 'PodHostNetwork',
    message: /team\/worker-1/,
    requestId: 'request-7'
  })
  t.match(JSON.parse(stderr), { level: 'error', code: 'PodHostNetwork', requestId: 'request-7' })
})

t.test(
  'In a pod a refusal is said at once and the exit comes later, unless SIGTERM comes',
  async t => {
    const server = await standIn(t)
    server.answers.push(refuses(401, 'TokenNotBound'))
    const place = newPlace(t)
    const environment = { ...environmentFor(server), [agentVariables.podUid]: 'uid' }
    const { child, ended } = start(place, environment)
    await once(child.stderr as NonNullable<typeof child.stderr>, 'data')
    t.equal(child.exitCode, null, 'it has spoken and is still there')
    child.kill('SIGTERM')
    t.match(await ended, { code: 143, signal: null }, 'SIGTERM ends the wait')
    t.match(lastWords(place), { code: 'TokenNotBound' }, 'the words stay')
  }
)

t.test(
  'Wrong variables and options end with 2, all at once, and are in the status too',
  async t => {
    const place = newPlace(t)
    const { code, stderr } = await start(place, { [agentVariables.keyGroup]: 'staff' }).ended
    t.equal(code, 2, 'a configuration error')
    t.match(lastWords(place), { code: 'Configuration' })
    for (const name of ['serverUrl', 'serverCa', 'podIPs', 'keyGroup'] as const) {
      t.match(stderr, agentVariables[name], `${name} is named`)
    }
    t.match(await start(place, {}, ['--exit-delay', 'long']).ended, { code: 2 }, 'a wrong delay')
    t.match(await start(place, {}, ['--fast']).ended, { code: 2 }, 'an unknown option')
    const inPod = await start(place, { [agentVariables.podUid]: 'u' }, ['--exit-delay', '0']).ended
    t.match(inPod, { code: 2 }, 'the delay can be set')
  }
)

t.test('A directory that cannot be written to ends with 1 before anything is asked', async t => {
  const server = await standIn(t)
  const place = { ...newPlace(t), directory: '/proc/self' }
  t.match(await start(place, environmentFor(server)).ended, { code: 1, stderr: /\/proc\/self/ })
  t.match(lastWords(place), { code: 'Directory' })
  t.equal(server.received.length, 0, 'no certificate was made for nothing')
})

t.test(
  'SIGTERM and SIGINT between two tries end the program with the old set as it was',
  async t => {
    const server = await standIn(t)
    const place = newPlace(t)
    await run(optionsFor(server, place))
    const before = contents(place)
    for (const [signal, code] of [
      ['SIGTERM', 143],
      ['SIGINT', 130]
    ] as const) {
      server.answers.length = 0
      // Another address than the pair has, so that it is asked for anew.
      const environment = { ...environmentFor(server), [agentVariables.podIPs]: '10.1.2.9' }
      const { child, ended } = start(place, environment)
      await Promise.race([asked(server, 2, () => child.kill(signal)), ended])
      t.match(await ended, { code, signal: null }, `${signal} ends with ${code}`)
      t.same(contents(place), before, 'nothing has changed')
    }
  }
)

t.test('SIGKILL between two tries leaves the old set, and the next run goes on', async t => {
  const server = await standIn(t)
  const place = newPlace(t)
  await run(optionsFor(server, place))
  const before = contents(place)
  const environment = { ...environmentFor(server), [agentVariables.podIPs]: '10.1.2.9' }
  const { child, ended } = start(place, environment)
  await Promise.race([asked(server, 2, () => child.kill('SIGKILL')), ended])
  t.match(await ended, { signal: 'SIGKILL' }, 'it was killed')
  t.same(contents(place), before, 'the old set is whole')
  server.answers.length = 0
  t.match(await start(place, environment).ended, { code: 0 }, 'the next run succeeds')
  t.not(contents(place)['tls.key'], before['tls.key'], 'with a new key')
})

t.test(
  'attack 24: SIGKILL while files are written never leaves a wrong set that looks whole',
  async t => {
    const server = await standIn(t)
    // Kills the program in front of its n-th call. The files are first written under other names, then renamed.
    const killer = `
      import fs from 'node:fs'
      import { syncBuiltinESMExports } from 'node:module'
      const [name, count] = process.env.KILL_AT.split(':')
      const real = fs[name]
      let calls = 0
      fs[name] = (...all) => {
        calls += 1
        if (calls === Number(count)) process.kill(process.pid, 'SIGKILL')
        return real(...all)
      }
      syncBuiltinESMExports()`
    const preload = `--import=data:text/javascript,${encodeURIComponent(killer)}`
    for (const at of [
      'fchmodSync:3',
      'fsyncSync:4',
      'renameSync:1',
      'renameSync:2',
      'renameSync:3'
    ]) {
      const place = newPlace(t)
      await run(optionsFor(server, place))
      const before = contents(place)
      const environment = { ...environmentFor(server), [agentVariables.podIPs]: '10.1.2.9' }
      const killed = start(place, { ...environment, KILL_AT: at }, [], [preload])
      t.match(await killed.ended, { signal: 'SIGKILL' }, `${at}: killed`)
      const after = contents(place)
      if (!at.startsWith('rename') || at === 'renameSync:1') {
        t.match(after, before, `${at}: the old set is whole`)
      } else {
        t.not(after['tls.key'], before['tls.key'], `${at}: the key has changed`)
        t.equal(
          after['tls.crt'],
          before['tls.crt'],
          `${at}: the certificate has not, so they do not match`
        )
      }
      t.match(
        await start(place, environment).ended,
        { code: 0, stderr: /Wrote/ },
        `${at}: repaired`
      )
      t.same(readdirSync(place.directory).sort(), names, `${at}: no leftovers`)
    }
  }
)

t.test(
  'The command is what the list of commands says, and its help names every variable',
  async t => {
    t.equal(command.summary, summaries.enroll, 'one summary')
    for (const name of Object.values(agentVariables))
      t.match(command.help, name, `${name} is explained`)
  }
)

t.test('The command runs inside a process as it does in one of its own', async t => {
  const server = await standIn(t)
  const place = newPlace(t)
  let said = ''
  const sink = {
    write: (text: string) => {
      said += text
    }
  }
  const stop = new AbortController()
  const io = {
    stdin: process.stdin,
    stdout: sink,
    stderr: sink,
    environment: environmentFor(server),
    signal: stop.signal
  }
  t.equal(await command.run(argumentsFor(place), io), 0, 'issued')
  t.equal(await command.run(argumentsFor(place), io), 0, 'kept')
  t.match(said, /Wrote[\s\S]*Kept/, 'both are said')
  rmSync(join(place.directory, 'tls.crt'))
  server.answers.push(refuses(403, 'PodNotFound'))
  t.equal(await command.run(argumentsFor(place), io), 1, 'refused')
  const nowhere = { ...place, directory: join(place.directory, 'none') }
  t.equal(await command.run(argumentsFor(nowhere), io), 1, 'no directory')
  t.equal(await command.run(argumentsFor(place), { ...io, environment: {} }), 2, 'no variables')
  await t.rejects(command.run(['--exit-delay', '-'], io), 'a wrong option')
  // A process ends here; in this one the abandoned run must find its own end.
  const ended = new Promise<void>(resolve => {
    server.answers.push(
      (received, reply) => {
        stop.abort('SIGINT')
        refuses(403, 'PodNotFound')(received, reply)
      },
      (received, reply) => {
        reply.on('close', resolve)
        refuses(403, 'PodNotFound')(received, reply)
      }
    )
  })
  t.equal(await command.run(argumentsFor(place), io), 130, 'SIGINT')
  t.equal(await command.run(argumentsFor(place), io), 130, 'an end that came before')
  await ended
})

t.test('A fault of the program is an exception, not a reason to ask again', async t => {
  const server = await standIn(t)
  const options = optionsFor(server, newPlace(t))
  const surroundings = {
    now: () => {
      throw new Error('no clock')
    },
    random: Math.random,
    sleep: async () => {},
    journal: { write() {}, writeFailure() {} }
  }
  await t.rejects(enroll(options, surroundings), { message: 'no clock' })
})
