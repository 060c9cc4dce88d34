import { KubernetesError } from './error.ts'

/**
 * A path of the API with every inserted segment encoded: path`/api/v1/namespaces/${namespace}/pods/${name}`.
 *
 * A segment that is empty or made of dots is refused: the API server cleans paths, so that `..` would ask for another
 * object than the one that was named. Throws {@link KubernetesError} `Invalid`.
 */
export function path(literals: TemplateStringsArray, ...segments: string[]): string {
  return literals.reduce((whole, literal, at) => whole + encoded(segments[at - 1] ?? '') + literal)
}

function encoded(segment: string): string {
  if (segment === '' || segment === '.' || segment === '..')
    throw new KubernetesError(
      'Invalid',
      `A name was expected in a path of the API, found "${segment}".`
    )
  return encodeURIComponent(segment)
}

/** Of all CertificateSigningRequests. */
export const signingRequestsPath = '/apis/certificates.k8s.io/v1/certificatesigningrequests'

export type Query = Record<string, string | number | boolean | undefined>

export function withQuery(base: string, query: Query): string {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query))
    if (value !== undefined) parameters.append(name, String(value))
  const text = parameters.toString()
  return text === '' ? base : `${base}?${text}`
}
