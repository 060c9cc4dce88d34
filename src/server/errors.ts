/**
 * What a client is told when a request does not reach its answer. One table, from code to status and public text.
 *
 * The texts say nothing about the cluster or about what went wrong inside; the log line with the same request id does.
 */

export interface ErrorReply {
  code: string
  message: string
  requestId: string
}

interface PublicError {
  status: number
  code: string
  text: string
}

const internal: PublicError = {
  status: 500,
  code: 'Internal',
  text: 'The server failed; its log has the reason under this request id.'
}

const invalidJson: PublicError = {
  status: 400,
  code: 'InvalidJson',
  text: 'The body is not well-formed JSON, or has a key that is never valid, such as "__proto__".'
}

/** By the codes of fastify (https://fastify.dev/docs/latest/Reference/Errors/) and of Node's HTTP parser. */
const publicErrors = new Map<string, PublicError>([
  ['FST_ERR_CTP_INVALID_JSON_BODY', invalidJson],
  ['FST_ERR_CTP_EMPTY_JSON_BODY', { ...invalidJson, text: 'A JSON body was expected, none came.' }],
  [
    'FST_ERR_CTP_INVALID_MEDIA_TYPE',
    { status: 415, code: 'MediaType', text: 'The body must be application/json.' }
  ],
  [
    'FST_ERR_CTP_BODY_TOO_LARGE',
    { status: 413, code: 'BodyTooLarge', text: 'The body is larger than this path takes.' }
  ],
  [
    'FST_ERR_CTP_INVALID_CONTENT_LENGTH',
    { status: 400, code: 'ContentLength', text: 'The body is not as long as Content-Length says.' }
  ],
  ['FST_ERR_BAD_URL', { status: 400, code: 'BadUrl', text: 'The path is not well-formed.' }],
  [
    'HPE_HEADER_OVERFLOW',
    { status: 431, code: 'HeadersTooLarge', text: 'The headers are too large.' }
  ],
  [
    'BODIES_TOO_LARGE',
    { status: 503, code: 'Overloaded', text: 'Too many bodies are on their way; send it again.' }
  ],
  [
    'ERR_HTTP_REQUEST_TIMEOUT',
    { status: 408, code: 'RequestTimeout', text: 'The request did not arrive in time.' }
  ]
])

/** For whatever a handler or the server itself throws. `fault`: it is ours, and people must hear of it. */
export function publicError(error: unknown): PublicError & { fault: boolean } {
  const { code, statusCode } = error as { code?: unknown; statusCode?: unknown }
  const known = publicErrors.get(String(code))
  if (known) return { ...known, fault: false }
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return {
      status: statusCode,
      code: 'BadRequest',
      text: 'The request is not valid.',
      fault: false
    }
  }
  return { ...internal, fault: true }
}

/** For what is refused before there is a whole request: the reply with its headers. */
export function rawReply(error: unknown): string {
  const { code } = error as { code?: unknown }
  const { status, text } = publicErrors.get(String(code)) ?? {
    status: 400,
    text: 'The request is not well-formed HTTP.'
  }
  const reasons: Record<number, string> = {
    400: 'Bad Request',
    408: 'Request Timeout',
    431: 'Request Header Fields Too Large',
    503: 'Service Unavailable'
  }
  const head = [
    `HTTP/1.1 ${status} ${reasons[status]}`,
    'content-type: text/plain; charset=utf-8',
    `content-length: ${Buffer.byteLength(text)}`,
    'connection: close'
  ]
  return `${head.join('\r\n')}\r\n\r\n${text}`
}
