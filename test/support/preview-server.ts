/** The built program with the preview component alone: HTTPS with a certificate for the moment, no cluster. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:https'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'

export interface Reply {
  status: number
  headers: Record<string, string | string[] | undefined>
  text: string
}

export interface PreviewServer {
  origin: string
  /** All of the log until now. */
  log(): string
  /** The line of a request, which may come after its answer. */
  logged(requestId: string): Promise<void>
  /** Undefined while it runs. */
  ended(): number | string | undefined
  ask(path: string, options?: AskOptions): Promise<Reply>
  close(): Promise<void>
}

export interface AskOptions {
  method?: string
  headers?: Record<string, string>
  body?: string | Uint8Array
}

export async function startPreview(
  environment: Record<string, string> = {}
): Promise<PreviewServer> {
  const program = join(import.meta.dirname, '../../dist/rayguard.js')
  const child = spawn(process.execPath, [program, 'serve', '--components', 'preview'], {
    env: {
      PATH: process.env.PATH,
      RAYGUARD_LISTEN_PREVIEW_ADDRESS: '127.0.0.1',
      RAYGUARD_LISTEN_PREVIEW_PORT: '0',
      RAYGUARD_LISTEN_OPS_ADDRESS: '127.0.0.1',
      RAYGUARD_LISTEN_OPS_PORT: '0',
      ...environment
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const lines: string[] = []
  const port = await new Promise<number>((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', line => {
      lines.push(line)
      const { listener, port, msg } = JSON.parse(line)
      if (listener === 'preview' && msg === 'listening') resolve(port)
    })
    child.once('exit', code => reject(new Error(`ended with ${code}: ${lines.join('\n')}`)))
  })
  return {
    origin: `https://localhost:${port}`,
    log: () => lines.join('\n'),
    async logged(requestId) {
      while (!lines.some(line => JSON.parse(line).requestId === requestId)) await setTimeout(10)
    },
    ended: () => child.exitCode ?? child.signalCode ?? undefined,
    ask: (path, options) => ask(port, path, options),
    async close() {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
    }
  }
}

function ask(
  port: number,
  path: string,
  { method = 'GET', headers = {}, body }: AskOptions = {}
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path, method, headers, agent: false }
    // Its certificate is made at the start, for nobody else to know.
    const asked = request({ ...options, rejectUnauthorized: false }, response => {
      const chunks: Buffer[] = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(chunks).toString('utf8')
        })
      )
    })
    // A server that has answered need not read the rest of the body.
    let answered = false
    asked.once('response', () => {
      answered = true
    })
    asked.on('error', error => {
      if (!answered) reject(error)
    })
    asked.end(body)
  })
}
