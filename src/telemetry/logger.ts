/**
 * One JSON line per event, on standard output unless told otherwise.
 *
 * Decides what may never be in a line: tokens, keys and requests for certificates, whatever field or message they come in.
 */
import { type DestinationStream, type Logger, pino } from 'pino'
import { describeError } from './describe-error.ts'

export type { Logger } from 'pino'

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** Field names whose values are secrets or whole requests, at any of the depths at which we log objects. */
const secretFields = [
  'authorization',
  'Authorization',
  'cookie',
  'token',
  'csr',
  'body',
  'privateKey',
  'passphrase',
  'env',
  'environment'
]

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
      redact: {
        paths: secretFields.flatMap(field => [field, `*.${field}`, `*.*.${field}`]),
        censor: '[redacted]'
      },
      hooks: { streamWrite: withoutSecrets }
    },
    // Synchronous, so that what was said before a crash is there.
    options.destination ?? pino.destination({ dest: 1, sync: true })
  )
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
