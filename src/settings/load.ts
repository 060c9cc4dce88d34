/**
 * The settings: from a file and the environment to one value, or to everything that is wrong with them.
 *
 * Decides what counts; reads the one file that it is told and none that the settings name.
 */
import { readFile } from 'node:fs/promises'
import { problemsOf, withDefaults } from './check.ts'
import { type DocumentProblem, readDocument, type SettingsDocument } from './document.ts'
import { durationSeconds } from './duration.ts'
import { type Environment, overlayEnvironment } from './environment.ts'
import { type LifetimeBounds, lifetimeBounds } from './lifetime-bounds.ts'
import { type Path, pathText, type SchemaNode } from './node.ts'
import { ruleProblems } from './rules.ts'
import { type SettingsFile, schema, servingFiles } from './schema.ts'

export type Settings = Omit<
  SettingsFile,
  'serving' | 'enrollment' | 'replacement' | 'clientCertificates' | 'shutdown'
> & {
  serving: Serving
  enrollment: Omit<SettingsFile['enrollment'], 'lifetime' | 'namespaceLifetime'> & {
    lifetimeSeconds: number
    namespaceLifetime: LifetimeBounds
  }
  replacement: { aheadSeconds: number; heads: boolean; intervalSeconds: number }
  clientCertificates: Omit<SettingsFile['clientCertificates'], 'lifetime'> & {
    lifetimeSeconds: number
  }
  shutdown: { drainSeconds: number; deadlineSeconds: number }
}

export type Serving =
  | { kind: 'selfManaged' }
  | { kind: 'files'; certificateFile: string; privateKeyFile: string }

export interface SettingsError {
  /** `injection.formerImages[0]`, a variable's name, or empty for the file as a whole. */
  path: string
  /** What was expected, what was found. */
  message: string
  /** `FILE:LINE:COLUMN`, or the variable that set the value. */
  where?: string
}

export type LoadedSettings = { settings: Settings } | { errors: SettingsError[] }

/** Without a file: what the environment says, over the defaults. */
export async function loadSettings(source: {
  file?: string
  environment: Environment
}): Promise<LoadedSettings> {
  const { file, environment } = source
  if (file === undefined) return interpret(readDocument(''), environment)
  const text = await readText(file)
  if (typeof text !== 'string') return { errors: [{ path: '', where: file, ...text }] }
  return interpret(readDocument(text), environment, file)
}

/** One line for people. */
export function errorLine({ path, message, where }: SettingsError): string {
  return [where, path === where ? '' : path, message].filter(part => part).join(': ')
}

async function readText(file: string): Promise<string | { message: string }> {
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return {
      message:
        code === 'ENOENT' ? 'expected a settings file, found none' : `cannot be read (${code})`
    }
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return { message: 'expected UTF-8 text, found other bytes' }
  }
}

function interpret(
  document: SettingsDocument,
  environment: Environment,
  file?: string
): LoadedSettings {
  if (document.problems.length > 0) {
    return { errors: document.problems.map(problem => documentError(problem, file)) }
  }
  const node = schema as SchemaNode
  const overlay = overlayEnvironment(node, document.value, environment)
  const value = withDefaults(node, overlay.value)
  const problems = problemsOf(node, value)
  if (problems.length === 0) problems.push(...ruleProblems(value as SettingsFile))
  if (problems.length + overlay.problems.length === 0) {
    return { settings: resolve(value as SettingsFile) }
  }
  const where = (path: Path): string | undefined =>
    overlay.set.find(set => startsWith(path, set.path))?.name ??
    (file === undefined ? undefined : positionText(file, document.placeOf(path)))
  return {
    errors: [
      ...problems.map(({ path, message }) => settingsError(pathText(path), message, where(path))),
      ...overlay.problems.map(({ path, message }) => settingsError(pathText(path), message))
    ]
  }
}

function documentError({ message, place }: DocumentProblem, file?: string): SettingsError {
  return settingsError('', message, file === undefined ? undefined : positionText(file, place))
}

function settingsError(path: string, message: string, where?: string): SettingsError {
  return where === undefined ? { path, message } : { path, message, where }
}

function positionText(file: string, place?: { line: number; column: number }): string {
  return place === undefined ? file : `${file}:${place.line}:${place.column}`
}

function startsWith(path: Path, start: Path): boolean {
  return start.every((step, index) => path[index] === step)
}

/** Texts with units become numbers in those units. */
function resolve(file: SettingsFile): Settings {
  const { serving, enrollment, replacement, clientCertificates, shutdown, ...rest } = file
  const { lifetime: clientLifetime, ...clients } = clientCertificates
  const { lifetime, namespaceLifetime, ...others } = enrollment
  return {
    ...rest,
    serving:
      serving.kind === 'files'
        ? { ...servingFiles, ...serving, kind: 'files' }
        : { kind: 'selfManaged' },
    enrollment: {
      ...others,
      lifetimeSeconds: seconds(lifetime),
      namespaceLifetime: lifetimeBounds(enrollment)
    },
    replacement: {
      aheadSeconds: seconds(replacement.ahead),
      heads: replacement.heads,
      intervalSeconds: seconds(replacement.interval)
    },
    clientCertificates: { ...clients, lifetimeSeconds: seconds(clientLifetime) },
    shutdown: { drainSeconds: seconds(shutdown.drain), deadlineSeconds: seconds(shutdown.deadline) }
  }
}

function seconds(text: string): number {
  const value = durationSeconds(text)
  if (value === undefined) throw new Error(`${text} was checked to be a duration and is none`)
  return value
}
