/** Programs that are not everywhere: on the PATH, or among those that the harness has built. */
import { accessSync, constants } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'

export function foundProgram(name: string): string | undefined {
  const { PATH = '', RAYGUARD_CACHE, XDG_CACHE_HOME } = process.env
  const cache = RAYGUARD_CACHE ?? join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'rayguard')
  return [...PATH.split(delimiter), join(cache, 'bin')]
    .map(folder => join(folder, name))
    .find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
