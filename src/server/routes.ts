import type { FastifyInstance } from 'fastify'

export interface Routes {
  /** The methods that `path` takes; none where there is no such path. */
  methodsOf(path: string): string[]
  /** As they were registered. */
  paths(): string[]
}

/** Remembers what is registered from now on, to tell "no such path" from "not with this method". */
export function collectRoutes(app: FastifyInstance): Routes {
  const methodsByPath = new Map<string, Set<string>>()
  app.addHook('onRoute', ({ url, method }) => {
    const methods = methodsByPath.get(url) ?? new Set<string>()
    for (const one of [method].flat()) methods.add(one)
    methodsByPath.set(url, methods)
  })
  return {
    methodsOf: path =>
      [...methodsByPath].flatMap(([pattern, methods]) =>
        matches(pattern, path) ? [...methods] : []
      ),
    paths: () => [...methodsByPath.keys()]
  }
}

/** fastify's patterns, as far as we use them: `:name` is one segment, `:name?` may be missing. */
function matches(pattern: string, path: string): boolean {
  const wanted = pattern.split('/')
  const found = path.split('/')
  const optional = pattern.endsWith('?') ? 1 : 0
  return (
    found.length <= wanted.length &&
    found.length >= wanted.length - optional &&
    found.every((segment, index) => {
      const expected = wanted[index] ?? ''
      return expected.startsWith(':') ? segment !== '' : segment === expected
    })
  )
}
