import type { Command } from './command.ts'

export const command: Command = {
  name: 'dry-run',
  summary: 'show what the webhook would do to pods and RayClusters, offline',
  help: 'Usage: rayguard dry-run\n',
  async run() {
    throw new Error('not built yet')
  }
}
