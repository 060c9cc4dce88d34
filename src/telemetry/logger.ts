/**
 * One JSON line per event, on standard output unless told otherwise.
 *
 * Decides what may never be in a line: tokens, keys and requests for certificates, whatever field or message they come in.
 */
import { type DestinationStream, type Logger, pino } from 'pino'
import { describeError } from './describe-error.ts'

export type { Logger } from 'pino'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Names of members whose values are secrets or whole requests, at any depth and in any case. */
const secretNames = [
  'authorization',
  'cookie',
  'token',
  'csr',
  'body',
  'privateKey',
  'passphrase',
  'env',
  'environment'
]
const secretMember = new RegExp(`"(?:${secretNames.join('|')})":`, 'i')
const secretName = new RegExp(`^(?:${secretNames.join('|')})$`, 'i')

export function createLogger(options: {
  level: LogLevel
  destination?: DestinationStream
}): Logger {
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: label => ({ level: label }) },
      serializers: { err: describeError, error: describeError },
      hooks: { streamWrite: line => withoutSecrets(withoutSecretMembers(line)) }
    },
    // Synchronous, so that what was said before a crash is there.
    options.destination ?? pino.destination({ dest: 1, sync: true })
  )
}

/**
 * The first net: members with such a name. Looks at the finished line, because pino's own redaction costs ten times as much
 * as the line itself and ends at the depths that it is given. A quotation mark inside a value has a backslash before it,
 * so that only a member's name can match.
 */
function withoutSecretMembers(line: string): string {
  if (!secretMember.test(line)) return line
  const clean = JSON.stringify(JSON.parse(line), (name, value) =>
    secretName.test(name) ? '[redacted]' : value
  )
  return `${clean}\n`
}

/**
 * The second net, beneath redaction by name: a token or a PEM block inside a message, from an error of a library, say.
 * Applied to the finished line; none of the replaced texts can hold a quotation mark.
 */
export function withoutSecrets(line: string): string {
  let clean = line
  if (clean.includes('eyJ')) {
    clean = clean.replace(/eyJ[\w-]{5,}\.[\w-]+(\.[\w-]*)?/g, '[token]')
  }
  if (/bearer/i.test(clean)) clean = clean.replace(/bearer\s+[\w.~+/=-]+/gi, 'Bearer [token]')
  if (clean.includes('-----BEGIN ')) {
    clean = clean.replace(/-----BEGIN [^"]*?(-----END [A-Z0-9 ]+-----|(?="))/g, '[PEM]')
  }
  return clean
}
