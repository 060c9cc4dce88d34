/**
 * What can go wrong between this program and the Kubernetes API.
 *
 * `Unavailable` and `Throttled` pass by themselves; `Gone` asks for a new list; everything else needs a person.
 */
export type KubernetesErrorCode =
  | 'Unavailable'
  | 'Throttled'
  | 'Unauthorized'
  | 'Forbidden'
  | 'NotFound'
  | 'Conflict'
  | 'Gone'
  | 'Invalid'
  | 'TooLarge'
  | 'Credentials'

export class KubernetesError extends Error {
  readonly code: KubernetesErrorCode
  /** The HTTP status, where there was an answer. */
  readonly status: number | undefined

  constructor(
    code: KubernetesErrorCode,
    message: string,
    options: ErrorOptions & { status?: number | undefined } = {}
  ) {
    super(message, options)
    this.name = 'KubernetesError'
    this.code = code
    this.status = options.status
  }
}

/** https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#http-status-codes */
export function codeOfStatus(status: number): KubernetesErrorCode {
  const known: Record<number, KubernetesErrorCode> = {
    401: 'Unauthorized',
    403: 'Forbidden',
    404: 'NotFound',
    409: 'Conflict',
    410: 'Gone',
    413: 'TooLarge',
    429: 'Throttled'
  }
  return known[status] ?? (status >= 500 ? 'Unavailable' : 'Invalid')
}
