import type { Command } from './command.ts'

export const command: Command = {
  name: 'check-config',
  summary: 'report every problem of a settings file and of the files it names',
  help: 'Usage: rayguard check-config\n',
  async run() {
    throw new Error('not built yet')
  }
}
