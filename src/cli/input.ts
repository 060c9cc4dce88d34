/** What `-f` names: files, folders with their YAML and JSON, standard input; as kubectl takes them. */
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type CommandIo, UsageError } from './command.ts'

export interface Input {
  /** For people. */
  name: string
  text: string
}

export const inputHelp = `  -f, --file FILE        a file, a folder (its .yaml, .yml and .json), or - for standard input; may be given more than once`

/** Throws {@link UsageError} for what cannot be read. */
export async function readInputs(files: readonly string[], io: CommandIo): Promise<Input[]> {
  if (files.length === 0) throw new UsageError('-f FILE is required; - reads standard input')
  if (files.filter(file => file === '-').length > 1)
    throw new UsageError('-f -: standard input can be read once only')
  const inputs: Input[] = []
  for (const file of files) {
    if (file === '-') inputs.push(await standardInput(io))
    else for (const one of await expanded(file)) inputs.push(await readInput(one))
  }
  return inputs
}

export async function readInput(file: string): Promise<Input> {
  const bytes = await readFile(file).catch(cause => {
    throw unreadable(file, cause)
  })
  return { name: file, text: decode(bytes, file) }
}

/** Not the folders within, as kubectl without --recursive. */
async function expanded(file: string): Promise<string[]> {
  const found = await stat(file).catch(cause => {
    throw unreadable(file, cause)
  })
  if (!found.isDirectory()) return [file]
  const names = (await readdir(file)).filter(name => /\.(ya?ml|json)$/.test(name)).sort()
  if (names.length === 0) throw new UsageError(`${file} holds no .yaml, .yml or .json file`)
  return names.map(name => join(file, name))
}

async function standardInput(io: CommandIo): Promise<Input> {
  const chunks: Buffer[] = []
  for await (const chunk of io.stdin) chunks.push(Buffer.from(chunk as Buffer | string))
  const name = 'standard input'
  return { name, text: decode(Buffer.concat(chunks), name) }
}

function decode(bytes: Buffer, name: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new UsageError(`${name} is not UTF-8 text`, { cause })
  }
}

function unreadable(file: string, cause: unknown): UsageError {
  const { code } = cause as NodeJS.ErrnoException
  return new UsageError(`${file} cannot be read (${code})`, { cause })
}
