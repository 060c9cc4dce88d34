import { parseArgs } from 'node:util'
import { type CertificateDescription, type Verification, verify } from '../agent/verify.ts'
import { tlsDirectory } from '../contract/pod.ts'
import { type Command, exitCodes, UsageError } from './command.ts'

const help = `Usage: rayguard verify --address HOST:PORT [OPTIONS]

Does the TLS handshake that Ray's gRPC does, with the files of this pod, and says exactly what failed: the network, a
server without TLS, the CA, a name, a date, or this pod's own certificate. Nothing is sent but an empty HTTP/2 greeting.

Options:
  --address HOST:PORT        what to connect to, such as raycluster-head-svc.team.svc.cluster.local:6379 or [fd00::7]:6379
  --name NAME                the name or address that the server's certificate must have (default: HOST)
  --directory DIRECTORY      where tls.crt, tls.key and ca.crt are (default ${tlsDirectory})
  --timeout SECONDS          for the whole connection (default 5)
  -o, --output text|json     (default text)
  -h, --help                 show this text

Exit codes: 0 the server is who it should be and accepts this pod; 1 it is not or does not; 2 wrong options.
`

export const command: Command = {
  name: 'verify',
  summary: 'try a TLS handshake as a pod would, and say which name or certificate failed',
  help,
  async run(argumentsList, io) {
    const { values } = parseArgs({
      args: argumentsList,
      options: {
        address: { type: 'string' },
        name: { type: 'string' },
        directory: { type: 'string', default: tlsDirectory },
        timeout: { type: 'string', default: '5' },
        output: { type: 'string', short: 'o', default: 'text' }
      }
    })
    const { host, port } = readAddress(values.address)
    const timeoutMs = readTimeout(values.timeout)
    const render = renderers.get(values.output)
    if (render === undefined) {
      throw new UsageError(`--output must be text or json; found ${JSON.stringify(values.output)}.`)
    }
    const verification = await verify({
      host,
      port,
      name: values.name ?? host,
      directory: values.directory,
      timeoutMs,
      now: Date.now()
    })
    io.stdout.write(render(verification))
    return verification.ok ? exitCodes.ok : exitCodes.failed
  }
}

function readAddress(text: string | undefined): { host: string; port: number } {
  const parts = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(text ?? '')
  const host = parts?.[1] ?? parts?.[2]
  const port = Number(parts?.[3])
  if (host === undefined || port < 1 || port > 65_535) {
    const found = text === undefined ? 'nothing' : JSON.stringify(text)
    throw new UsageError(`--address must be HOST:PORT or [IPv6 ADDRESS]:PORT; found ${found}.`)
  }
  return { host, port }
}

function readTimeout(text: string): number {
  const seconds = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) : 0
  if (seconds > 0 && seconds <= 600) return seconds * 1000
  throw new UsageError(
    `--timeout must be seconds, above 0, at most 600; found ${JSON.stringify(text)}.`
  )
}

const renderers = new Map<string, (verification: Verification) => string>([
  ['json', verification => `${JSON.stringify(verification, undefined, 2)}\n`],
  ['text', renderText]
])

function renderText(verification: Verification): string {
  const { ok, address, name, code, message, peer, own } = verification
  const lines = [
    `${ok ? 'ok' : 'FAILED'}  ${address}  ${code}`,
    message,
    '',
    `checked    ${name}`,
    ...(verification.protocol === undefined
      ? []
      : [`protocol   ${verification.protocol}, ALPN ${verification.applicationProtocol}`]),
    ...describe('server', peer),
    ...describe('this pod', own)
  ]
  return `${lines.join('\n')}\n`
}

function describe(who: string, certificate: CertificateDescription | undefined): string[] {
  if (certificate === undefined) return []
  const { dnsNames, ipAddresses, issuer, serialNumber, notBefore, notAfter } = certificate
  return [
    `${who.padEnd(9)}  names    ${[...dnsNames, ...ipAddresses].join(', ') || 'none'}`,
    `           issuer   ${issuer === '' ? 'without a name' : issuer}`,
    `           valid    ${notBefore} to ${notAfter}`,
    `           serial   ${serialNumber}`
  ]
}
