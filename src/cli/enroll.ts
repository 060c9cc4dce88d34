import type { Command } from './command.ts'

export const command: Command = {
  name: 'enroll',
  summary: 'get the certificate of this pod (the injected init container)',
  help: 'Usage: rayguard enroll\n',
  async run() {
    throw new Error('not built yet')
  }
}
