import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import t from 'tap'
import { type Command, UsageError } from '../../src/cli/command.ts'
import { type CommandTable, dispatch } from '../../src/cli/dispatch.ts'
import { type CommandName, mainHelp, summaries } from '../../src/cli/main-help.ts'
import { captureIo } from '../support/cli.ts'

const program = join(import.meta.dirname, '../../dist/rayguard.js')

/** Every command is the same one. */
function table(run: Command['run'], load?: () => never): CommandTable {
  const command: Command = { name: 'serve', summary: 's', help: 'The help.\n', run }
  const names = Object.keys(summaries) as CommandName[]
  return Object.fromEntries(
    names.map(name => [name, load ?? (async () => ({ command }))])
  ) as unknown as CommandTable
}

async function dispatched(argumentsList: string[], commands: CommandTable = table(async () => 0)) {
  const io = captureIo()
  const code = await dispatch(commands, argumentsList, io)
  return { code, out: io.out(), err: io.err() }
}

t.test('without a command, with a wrong one, with a question for help', async t => {
  t.match(
    await dispatched([]),
    { code: 2, out: '', err: mainHelp },
    'nothing: the help, as an error'
  )
  for (const help of ['--help', '-h', 'help'])
    t.match(await dispatched([help]), { code: 0, out: mainHelp, err: '' }, help)
  t.match(await dispatched(['--version']), { code: 0, out: 'rayguard development\n' }, '--version')
  for (const wrong of ['serv', '__proto__', 'constructor', '']) {
    const { code, err } = await dispatched([wrong])
    t.equal(code, 2, `${wrong} is no command`)
    for (const name of Object.keys(summaries)) t.ok(err.includes(name), `the list has ${name}`)
  }
  t.match(
    await dispatched(['serve', '--config', 'x', '--help']),
    { code: 0, out: 'The help.\n' },
    'help of a command'
  )
  let seen: string[] = []
  const passing = table(async argumentsList => {
    seen = argumentsList
    return 0
  })
  await dispatched(['serve', 'a', '--', '--help'], passing)
  t.strictSame(seen, ['a', '--', '--help'], 'what stands behind -- belongs to the command')
})

t.test('exit codes and messages of a command that fails', async t => {
  t.equal(
    (
      await dispatched(
        ['serve'],
        table(async () => 1)
      )
    ).code,
    1,
    'its own code'
  )
  const usage = await dispatched(
    ['serve'],
    table(async () => {
      throw new UsageError('expected a FILE, found none')
    })
  )
  t.match(
    usage,
    { code: 2, err: 'rayguard serve: expected a FILE, found none\nTry: rayguard serve --help\n' },
    'wrong arguments'
  )
  const parsed = await dispatched(
    ['serve', '--bogus'],
    table(async args => {
      parseArgs({ args })
      return 0
    })
  )
  t.match(
    parsed,
    { code: 2, err: /--bogus[\s\S]*Try: rayguard serve --help/ },
    'as parseArgs finds them'
  )
  const fault = await dispatched(
    ['serve'],
    table(async () => {
      throw new Error('it failed', { cause: new Error('because', { cause: 'of a text' }) })
    })
  )
  t.match(
    fault,
    { code: 1, err: 'rayguard serve: it failed: because\n' },
    'a fault with its causes'
  )
  t.notMatch(fault.err, /\bat .*:\d+/, 'and no stack')
  const odd = await dispatched(
    ['serve'],
    table(async () => {
      throw undefined
    })
  )
  t.match(odd, { code: 1, err: /unknown reason/ }, 'a fault that is none')
  const circle = new Error('')
  circle.cause = circle
  t.match(
    await dispatched(
      ['serve'],
      table(async () => Promise.reject(circle))
    ),
    { code: 1, err: 'rayguard serve: Error\n' },
    'a circle of causes'
  )
  const broken = await dispatched(
    ['enroll'],
    table(
      async () => 0,
      () => {
        throw new Error('a chunk is missing')
      }
    )
  )
  t.match(
    broken,
    { code: 1, err: /rayguard enroll: a chunk is missing/ },
    'a command that cannot be loaded'
  )
})

t.test('every command says of itself what the main help says of it', async t => {
  for (const [name, summary] of Object.entries(summaries)) {
    const { command } = (await import(`../../src/cli/${name}.ts`)) as { command: Command }
    t.equal(command.name, name, `${name}: its name`)
    t.equal(command.summary, summary, `${name}: its summary`)
    t.match(
      command.help,
      new RegExp(`^Usage: rayguard ${name}\\b[\\s\\S]*\\n$`),
      `${name}: its help begins with its usage`
    )
  }
})

function bundled(...argumentsList: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise(resolve => {
    execFile(process.execPath, [program, ...argumentsList], { env: {} }, (error, out, err) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, out, err })
    )
  })
}

t.test('the bundle is the same program', async t => {
  const { version } = JSON.parse(
    readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')
  )
  t.match(await bundled('--version'), { code: 0, out: `rayguard ${version}\n` }, 'with its version')
  t.match(await bundled('--help'), { code: 0, out: mainHelp }, 'and its help')
  t.match(
    await bundled('nonsense'),
    { code: 2, err: /there is no command "nonsense"/ },
    'and its exit codes'
  )
  t.match(await bundled('serve', '--nonsense'), { code: 2 }, 'those of commands, too')
  t.match(
    await bundled('check-config', '/nonexistent'),
    { code: 2, err: /found none/ },
    'and their messages'
  )
  const child = spawn(process.execPath, [program, '--help'], {
    env: {},
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let err = ''
  child.stderr.on('data', data => {
    err += data
  })
  child.stdout.destroy()
  await once(child, 'close')
  t.equal(err, '', 'a reader that goes away is no error')
})

/** Bytes that Node reads before the file runs: the file and everything that it imports statically. */
function closure(file: string, seen = new Map<string, number>()): Map<string, number> {
  if (seen.has(file)) return seen
  const text = readFileSync(file, 'utf8')
  seen.set(file, text.length)
  for (const [, path] of text.matchAll(
    /(?:^|[;}\n])import(?:[^'"();]*?from)?\s*["'](\.[^"']+)["']/g
  ))
    closure(join(dirname(file), path ?? ''), seen)
  return seen
}

t.test('the agent’s start reads little: it happens in every pod', async t => {
  const bytes = (file: string) => [...closure(file).values()].reduce((sum, size) => sum + size, 0)
  const entry = readFileSync(program, 'utf8')
  const enroll = /"(\.\/chunks\/enroll-[^"]+)"/.exec(entry)?.[1] ?? ''
  const serve = /"(\.\/chunks\/serve-[^"]+)"/.exec(entry)?.[1] ?? ''
  t.ok(bytes(program) < 16_000, `the entry: ${bytes(program)} bytes`)
  t.ok(
    bytes(join(dirname(program), enroll)) < 100_000,
    `the agent: ${bytes(join(dirname(program), enroll))} bytes`
  )
  t.ok(
    bytes(join(dirname(program), serve)) > 300_000,
    'whereas the server is large, so that this measures something'
  )
})

t.test('the code that signs is not loaded by the webhook', async t => {
  const entry = readFileSync(program, 'utf8')
  const serve = join(dirname(program), /"(\.\/chunks\/serve-[^"]+)"/.exec(entry)?.[1] ?? '')
  const webhook = join(
    dirname(serve),
    /"\.\/(webhook-[^"]+)"/.exec(readFileSync(serve, 'utf8'))?.[1] ?? ''
  )
  const enrollment = join(
    dirname(serve),
    /"\.\/(enrollment-[^"]+)"/.exec(readFileSync(serve, 'utf8'))?.[1] ?? ''
  )
  const text = (file: string) =>
    [...closure(file).keys()].map(name => readFileSync(name, 'utf8')).join('\n')
  const signs = 'does not belong to the issuing CA'
  t.ok(text(enrollment).includes(signs), 'the enrollment server has it')
  t.notOk(text(webhook).includes(signs), 'the webhook does not')
  t.notOk(text(serve).includes(signs), 'nor has what both share')
})
