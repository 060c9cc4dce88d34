/**
 * From the arguments to a command's exit code.
 *
 * Decides which command runs and how its failure is shown; never what the command does.
 */
import { type CommandIo, exitCodes, type LoadCommand, UsageError } from './command.ts'
import { type CommandName, mainHelp, summaries } from './main-help.ts'
import { version } from './version.ts'

export type CommandTable = Record<CommandName, LoadCommand>

/** Exit code of the command that `argumentsList` names. Writes what people need to know; never throws. */
export async function dispatch(
  commands: CommandTable,
  argumentsList: string[],
  io: CommandIo
): Promise<number> {
  const [name, ...rest] = argumentsList
  if (name === '--help' || name === '-h' || name === 'help') {
    io.stdout.write(mainHelp)
    return exitCodes.ok
  }
  if (name === '--version' || name === '-v') {
    io.stdout.write(`rayguard ${version()}\n`)
    return exitCodes.ok
  }
  if (name === undefined) {
    io.stderr.write(mainHelp)
    return exitCodes.usage
  }
  if (!isCommandName(name)) {
    io.stderr.write(unknownCommand(name))
    return exitCodes.usage
  }
  return run(name, commands[name], rest, io)
}

function isCommandName(name: string): name is CommandName {
  return Object.hasOwn(summaries, name)
}

function unknownCommand(name: string): string {
  return `rayguard: there is no command ${JSON.stringify(name)}. The commands are: ${Object.keys(
    summaries
  ).join(', ')}.\nTry: rayguard --help\n`
}

async function run(
  name: CommandName,
  load: LoadCommand,
  argumentsList: string[],
  io: CommandIo
): Promise<number> {
  try {
    const { command } = await load()
    if (asksForHelp(argumentsList)) {
      io.stdout.write(command.help)
      return exitCodes.ok
    }
    return await command.run(argumentsList, io)
  } catch (error) {
    if (isUsageError(error)) {
      io.stderr.write(`rayguard ${name}: ${error.message}\nTry: rayguard ${name} --help\n`)
      return exitCodes.usage
    }
    io.stderr.write(`rayguard ${name}: ${messageWithCauses(error)}\n`)
    return exitCodes.failed
  }
}

/** Everything behind `--` belongs to the command. */
function asksForHelp(argumentsList: string[]): boolean {
  const end = argumentsList.indexOf('--')
  const options = end === -1 ? argumentsList : argumentsList.slice(0, end)
  return options.includes('--help') || options.includes('-h')
}

/** Ours, or one that `node:util` parseArgs throws. */
function isUsageError(error: unknown): error is Error {
  if (error instanceof UsageError) return true
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && code.startsWith('ERR_PARSE_ARGS_')
}

/** Messages only: a stack helps nobody who runs a command, and other fields may hold what must not be shown. */
function messageWithCauses(error: unknown): string {
  const messages: string[] = []
  let current = error
  for (let depth = 0; current instanceof Error && depth < 5; depth++) {
    const text = current.message === '' ? current.name : current.message
    if (messages.at(-1)?.includes(text) !== true) messages.push(text)
    current = current.cause
  }
  return messages.length === 0 ? 'failed for an unknown reason' : messages.join(': ')
}
