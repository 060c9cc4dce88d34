import type { Command } from './command.ts'

export const command: Command = {
  name: 'serve',
  summary: 'run the admission webhook and the enrollment server',
  help: 'Usage: rayguard serve\n',
  async run() {
    throw new Error('not built yet')
  }
}
