import type { Command } from './command.ts'

export const command: Command = {
  name: 'verify',
  summary: 'try a TLS handshake as a pod would, and say which name or certificate failed',
  help: 'Usage: rayguard verify\n',
  async run() {
    throw new Error('not built yet')
  }
}
