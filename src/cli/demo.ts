import type { Command } from './command.ts'

export const command: Command = {
  name: 'demo',
  summary: 'show the whole way of a certificate on this machine, without a cluster',
  help: 'Usage: rayguard demo\n',
  async run() {
    throw new Error('not built yet')
  }
}
