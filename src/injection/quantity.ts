/**
 * Compares Kubernetes quantities by value: the API server writes `0.5` back as `500m`.
 *
 * https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
 */

const factors = new Map([
  ['n', 1e-9],
  ['u', 1e-6],
  ['m', 1e-3],
  ['', 1],
  ['k', 1e3],
  ['M', 1e6],
  ['G', 1e9],
  ['T', 1e12],
  ['P', 1e15],
  ['E', 1e18],
  ['Ki', 2 ** 10],
  ['Mi', 2 ** 20],
  ['Gi', 2 ** 30],
  ['Ti', 2 ** 40],
  ['Pi', 2 ** 50],
  ['Ei', 2 ** 60]
])

export function isSameQuantity(one: unknown, other: string): boolean {
  if (one === other) return true
  const [a, b] = [amountOf(one), amountOf(other)]
  // Binary fractions of decimal numbers differ in their last bits.
  return a !== undefined && b !== undefined && Math.abs(a - b) <= 1e-9 * Math.abs(b)
}

function amountOf(quantity: unknown): number | undefined {
  const match = /^([+-]?\d{0,20}\.?\d{0,20}(?:[eE][+-]?\d{1,2})?)([a-zA-Z]{0,2})$/.exec(
    String(quantity)
  )
  const factor = factors.get(match?.[2] ?? '?')
  const number = Number(match?.[1] || Number.NaN)
  return factor === undefined || Number.isNaN(number) ? undefined : number * factor
}
