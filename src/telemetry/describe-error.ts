export interface ErrorDescription {
  type: string
  message: string
  code?: string | number
  status?: number
  stack?: string
  cause?: ErrorDescription
}

const maximumCauses = 5

/**
 * An error as fields of a log line: type, message, code, HTTP status, causes, and where it came from.
 * Nothing else that hangs on the error: libraries put requests, answers and their headers there.
 */
export function describeError(error: unknown): ErrorDescription {
  return describe(error, 0)
}

function describe(error: unknown, depth: number): ErrorDescription {
  if (!(error instanceof Error)) {
    return { type: typeof error, message: typeof error === 'string' ? error : 'not an Error' }
  }
  const { code, status, cause } = error as { code?: unknown; status?: unknown; cause?: unknown }
  return {
    type: error.name,
    message: error.message,
    ...(typeof code === 'string' || typeof code === 'number' ? { code } : {}),
    ...(typeof status === 'number' ? { status } : {}),
    ...(depth === 0 ? { stack: framesOf(error) } : {}),
    ...(cause === undefined || depth === maximumCauses ? {} : { cause: describe(cause, depth + 1) })
  }
}

/**
 * The places alone; the message stands in its own field.
 *
 * Attack: a line of the message that looks like a place, in what must not be logged. The message is cut off where it can be
 * found, and a place ends as V8 ends it.
 */
export function framesOf({ stack, message }: Error): string {
  const text = stack ?? ''
  const at = message === '' ? -1 : text.indexOf(message)
  return text
    .slice(at < 0 ? 0 : at + message.length)
    .split('\n')
    .filter(line => /^ {4}at .*(?::\d+:\d+|<anonymous>|native)\)?$/.test(line))
    .slice(0, 8)
    .map(line => line.trim())
    .join('\n')
}
