import type { Command } from './command.ts'

export const command: Command = {
  name: 'ca',
  summary: 'make, show and check the certificate authority',
  help: 'Usage: rayguard ca\n',
  async run() {
    throw new Error('not built yet')
  }
}
