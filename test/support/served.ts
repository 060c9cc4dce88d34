/** `rayguard serve` in this process, over files of its own and the stand-in for the API, and requests to its listeners. */
import { writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { serveCommand } from '../../src/cli/serve.ts'
import { createStandIn, type StandIn } from '../../src/demo/stand-in.ts'
import { captureIo } from './cli.ts'
import { openssl } from './cluster-certificates.ts'
import { clientToken, servingPair } from './enrollment-stage.ts'
import { image } from './ray-objects.ts'

export const pair = servingPair()

export interface Place {
  standIn: StandIn
  file(name: string): string
  settings(changes?: Record<string, unknown>): string
}

/** A folder with a CA and a serving pair, and the stand-in for the API that its kubeconfig leads to. */
export async function place(t: Test): Promise<Place> {
  const folder = t.testdir({})
  const file = (name: string) => join(folder, name)
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  t.teardown(() => standIn.close())
  const server = await standIn.listen()
  makePodsCa(file)
  writeFileSync(file('tls.crt'), pair.certificate)
  writeFileSync(file('tls.key'), pair.privateKey)
  writeFileSync(file('ca.crt'), pair.ca)
  const cluster = { server, 'certificate-authority-data': Buffer.from(pair.ca).toString('base64') }
  writeFileSync(
    file('kubeconfig'),
    stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'a', cluster }],
      users: [{ name: 'a', user: { token: clientToken } }],
      contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
      'current-context': 'a'
    })
  )
  const listener = { address: '127.0.0.1', port: 0 }
  return {
    standIn,
    file,
    settings(changes = {}) {
      writeFileSync(
        file('config.yaml'),
        JSON.stringify({
          listen: { webhook: listener, enrollment: listener, ops: listener },
          serving: {
            kind: 'files',
            certificateFile: file('tls.crt'),
            privateKeyFile: file('tls.key')
          },
          kubernetes: { kubeconfigFile: file('kubeconfig') },
          injection: { image, serverUrl: 'https://localhost:8444', serverCaFile: file('ca.crt') },
          authority: { certificateFile: file('pods.crt'), privateKeyFile: file('pods.key') },
          shutdown: { drain: '0s', deadline: '10s' },
          log: { level: 'debug' },
          ...changes
        })
      )
      return file('config.yaml')
    }
  }
}

/** A CA of its own for pods, of openssl. `more`: further arguments, such as an extension. */
export function makePodsCa(file: Place['file'], pathLength = 1, more: string[] = []): void {
  openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-subj', '/CN=pods', '-days', '400', '-keyout', file('pods.key'), '-out', file('pods.crt')],
    ...['-addext', `basicConstraints=critical,CA:TRUE,pathlen:${pathLength}`],
    ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign', ...more]
  )
}

export interface Served {
  log(): string
  /** The port of a listener, once it listens. */
  port(listener: string): Promise<number>
  /** Once the log has a line with this message. */
  said(message: string, listener?: string): Promise<Record<string, unknown>>
  stop(): Promise<number>
}

/** In this process. */
export function serve(t: Test, settings: string, argumentsList: string[] = []): Served {
  const waiting = new Set<() => void>()
  const io = captureIo({}, () => {
    for (const look of [...waiting]) look()
  })
  const ended = serveCommand({ lookEveryMs: 20 }).run(['--config', settings, ...argumentsList], io)
  // Whoever waits for a line learns of the failure, too.
  const failed = ended.then(code => Promise.reject(new Error(`ended with ${code}: ${io.err()}`)))
  failed.catch(() => {})
  const stop = () => {
    io.abort()
    return ended
  }
  t.teardown(stop)
  const line = (matches: (line: Record<string, unknown>) => boolean) =>
    Promise.race([
      failed,
      new Promise<Record<string, unknown>>(resolve => {
        const look = () => {
          const found = linesOf(io.out()).find(matches)
          if (found === undefined) return
          waiting.delete(look)
          resolve(found)
        }
        waiting.add(look)
        look()
      })
    ])
  return {
    log: io.out,
    port: async listener =>
      Number(
        (await line(({ listener: name, msg }) => name === listener && msg === 'listening')).port
      ),
    said: (message, named) =>
      line(({ msg, listener }) => msg === message && (named ?? listener) === listener),
    stop
  }
}

function linesOf(log: string): Record<string, unknown>[] {
  return log
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))
}

export interface Reply {
  status: number
  text: string
  json: Record<string, unknown> & { code?: string; response?: Record<string, unknown> }
}

export function ask(secure: boolean, options: RequestOptions, body?: object): Promise<Reply> {
  const request = secure ? httpsRequest : httpRequest
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', agent: false, ca: pair.ca, ...options }, response => {
      let text = ''
      response.on('data', chunk => {
        text += chunk
      })
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          text,
          json: /^\{/.test(text) ? JSON.parse(text) : {}
        })
      )
    })
      .on('error', reject)
      .end(body === undefined ? undefined : JSON.stringify(body))
  })
}

export const get = (port: number, path: string) => ask(false, { port, path })

export const post = (port: number, path: string, body: object, options: RequestOptions = {}) =>
  ask(
    true,
    {
      port,
      path,
      method: 'POST',
      ...options,
      headers: { 'content-type': 'application/json', ...options.headers }
    },
    body
  )

/** `ready` once the probe says so: each look waits for a real answer of the server, none for a time. */
export async function ready(port: number, wanted = 200): Promise<Reply> {
  for (;;) {
    const reply = await get(port, '/readyz')
    if (reply.status === wanted) return reply
  }
}
