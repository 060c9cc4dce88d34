/**
 * A real Vault, `vault server` with storage in files, over TLS with a CA of its own: initialised, unsealed, and with an
 * administrator's token for what a test sets up.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, request } from 'undici'
import { makeCa, type Workshop } from '../x509/openssl.ts'
import { foundProgram } from './found-program.ts'

export interface VaultServer {
  address: string
  /** PEM file. */
  caFile: string
  /** Of the root user. */
  token: string
  /** As the root user unless with another token. Throws for a status above 299. */
  write(path: string, body: object, token?: string): Promise<Answer>
  read(path: string, token?: string): Promise<Answer>
  remove(path: string): Promise<Answer>
  seal(): Promise<void>
  unseal(): Promise<void>
  /** As with `kill -9`. */
  stop(): Promise<void>
  /** Sealed, as each Vault that has been restarted is. */
  start(): Promise<void>
  close(): Promise<void>
}

interface Answer {
  // biome-ignore lint/suspicious/noExplicitAny: what Vault answers differs by path, and a test knows which it asked for
  data?: any
  auth?: { client_token: string; lease_duration: number }
  sealed?: boolean
  ha_enabled?: boolean
  keys?: string[]
  root_token?: string
}

export async function startVault(workshop: Workshop): Promise<VaultServer> {
  const program = foundProgram('vault')
  if (program === undefined) throw new Error('test/cluster/build vault builds what is missing')
  const port = await freePort()
  const address = `https://127.0.0.1:${port}`
  servingCertificate(workshop)
  const storage = workshop.path('vault-storage')
  mkdirSync(storage)
  const settings = workshop.write(
    'vault.json',
    JSON.stringify({
      disable_mlock: true,
      api_addr: address,
      storage: { file: { path: storage } },
      listener: {
        tcp: {
          address: `127.0.0.1:${port}`,
          tls_cert_file: workshop.path('vault.crt'),
          tls_key_file: workshop.path('vault.key')
        }
      }
    })
  )
  const agent = new Agent({ connect: { ca: workshop.read('vault-ca.crt') } })
  let child: ChildProcess | undefined
  let key = ''

  const server: VaultServer = {
    address,
    caFile: workshop.path('vault-ca.crt'),
    token: '',
    write: (path, body, token) => call('POST', path, body, token),
    read: (path, token) => call('GET', path, undefined, token),
    remove: path => call('DELETE', path, undefined),
    async seal() {
      await call('PUT', 'sys/seal', {})
    },
    async unseal() {
      await call('PUT', 'sys/unseal', { key })
      await eventually(async () => (await call('GET', 'sys/leader')).ha_enabled !== undefined)
    },
    async stop() {
      const ending = child
      child = undefined
      if (ending?.exitCode !== null) return
      const ended = new Promise(resolve => ending.once('exit', resolve))
      ending.kill('SIGKILL')
      await ended
    },
    async start() {
      child = spawn(program, ['server', `-config=${settings}`], { stdio: 'ignore' })
      await eventually(
        async () => typeof (await call('GET', 'sys/seal-status')).sealed === 'boolean'
      )
    },
    async close() {
      await server.stop()
      await agent.close()
    }
  }
  await server.start()
  const made = await call('PUT', 'sys/init', { secret_shares: 1, secret_threshold: 1 })
  key = made.keys?.[0] ?? ''
  server.token = made.root_token ?? ''
  await server.unseal()
  return server

  async function call(
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    path: string,
    body?: object,
    token = server.token
  ): Promise<Answer> {
    const answer = await request(`${address}/v1/${path}`, {
      dispatcher: agent,
      method,
      headers: token === '' ? {} : { 'x-vault-token': token },
      body: body === undefined ? null : JSON.stringify(body)
    })
    const text = await answer.body.text()
    if (answer.statusCode > 299) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`)
    return text === '' ? {} : JSON.parse(text)
  }
}

function servingCertificate(workshop: Workshop): void {
  makeCa(workshop, 'vault-ca')
  makeCa(workshop, 'vault', {
    issuer: 'vault-ca',
    extensions: ['basicConstraints=CA:FALSE', 'subjectAltName=IP:127.0.0.1,DNS:localhost']
  })
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>(resolve => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as { port: number }
  await new Promise(resolve => probe.close(resolve))
  return port
}

async function eventually(look: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; ; tries++) {
    if (await look().catch(() => false)) return
    if (tries > 300) throw new Error('Vault did not start')
    await sleep(100)
  }
}
