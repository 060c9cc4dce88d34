import { existsSync } from 'node:fs'
import { fileVariable } from '../settings/environment.ts'
import { errorLine, loadSettings, type Settings } from '../settings/load.ts'
import type { Environment, TextSink } from './command.ts'

const defaultSettingsFile = '/etc/rayguard/config.yaml'

export interface SettingsSource {
  /** Of `--config`. */
  config: string | undefined
  /** Of `--components`. */
  components?: string | undefined
  environment: Environment
}

/** The settings, or undefined when everything that is wrong with them has been written to `stderr`. */
export async function settingsFor(
  { config, components, environment }: SettingsSource,
  stderr: TextSink
): Promise<Settings | undefined> {
  const file = config ?? environment[fileVariable] ?? usualFile()
  const loaded = await loadSettings({
    ...(file === undefined ? {} : { file }),
    environment:
      components === undefined ? environment : { ...environment, RAYGUARD_COMPONENTS: components }
  })
  if ('settings' in loaded) return loaded.settings
  for (const error of loaded.errors) stderr.write(`${errorLine(error)}\n`)
  const count = loaded.errors.length
  stderr.write(`${count} ${count === 1 ? 'problem' : 'problems'}; docs/settings.md has all keys.\n`)
  return undefined
}

/** Only a file that somebody named must exist; the environment may say everything. */
function usualFile(): string | undefined {
  return existsSync(defaultSettingsFile) ? defaultSettingsFile : undefined
}
