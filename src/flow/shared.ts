/**
 * Who asks what is being asked at this moment waits for the same answer. Nothing is kept beyond that: the next one asks anew.
 */
export function createShared<T>(): (key: string, ask: () => Promise<T>) => Promise<T> {
  const underWay = new Map<string, Promise<T>>()

  return (key, ask) => {
    const known = underWay.get(key)
    if (known) return known
    const asked = ask().finally(() => underWay.delete(key))
    underWay.set(key, asked)
    return asked
  }
}
