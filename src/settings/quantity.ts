/** Kubernetes quantities, as far as a container's processor and memory need them. */

/** '500m' and '1.5' as thousandths of a core; undefined for any other text. */
export function cpuMillicores(text: string): number | undefined {
  const match = /^(\d{1,6}(?:\.\d{1,3})?)(m?)$/.exec(text)
  if (match === null) return undefined
  return Number(match[1]) * (match[2] === 'm' ? 1 : 1000)
}

const memoryUnits: Record<string, number> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30
}

/** '128Mi' and '1G' as bytes; undefined for any other text. 'm' is refused: 128m is a thousandth of what was meant. */
export function memoryBytes(text: string): number | undefined {
  const match = /^(\d{1,12})([a-zA-Z]{0,2})$/.exec(text)
  const unit = memoryUnits[match?.[2] ?? 'none']
  return unit === undefined ? undefined : Number(match?.[1]) * unit
}
