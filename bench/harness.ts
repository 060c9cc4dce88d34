/**
 * Compares a subject with a baseline in interleaved rounds.
 *
 * Machines are shared and their speed wanders: what is measured a moment apart can be compared, what is measured a minute
 * apart cannot. So the ratio is the median of the rounds' own ratios, and nothing here decides whether a test passes.
 */

export interface Figure {
  name: string
  value: number
  unit: string
  baseline: number | null
  /** Subject over baseline. */
  ratio: number | null
  /** The middle half of the rounds, as a share of the median: above 0.2 the figure is noisy. */
  spread: number | null
  /** `≥ 0.6×`; empty where none is set. */
  target: string
  met: boolean | null
}

/** Shows a figure as soon as it is there. */
export type Report = (figure: Figure) => void

export interface Target {
  of: 'value' | 'ratio'
  atLeast?: number
  atMost?: number
}

export interface Comparison {
  name: string
  unit: string
  rounds: number
  /** Each measures one round and answers in `unit`. */
  subject(): Promise<number> | number
  baseline(): Promise<number> | number
  target?: Target
}

export async function compare(comparison: Comparison): Promise<Figure> {
  const { name, unit, rounds, target } = comparison
  // The first round warms up: compiled code, open connections, filled caches.
  await comparison.subject()
  await comparison.baseline()
  const values: number[] = []
  const baselines: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    // Whoever comes second finds the machine as the first has left it, so they take turns.
    if (round % 2 === 0) values.push(await comparison.subject())
    baselines.push(await comparison.baseline())
    if (round % 2 === 1) values.push(await comparison.subject())
  }
  return figureOf({ name, unit, values, baselines, ...(target === undefined ? {} : { target }) })
}

/** A figure from rounds that were measured elsewhere; one baseline a value, or none at all. */
export function figureOf(measured: {
  name: string
  unit: string
  values: number[]
  baselines?: number[]
  target?: Target
}): Figure {
  const { name, unit, values, baselines = [], target } = measured
  const ratios = baselines.map((baseline, round) => (values[round] ?? Number.NaN) / baseline)
  const value = median(values)
  const ratio = ratios.length === 0 ? null : median(ratios)
  return {
    name,
    value,
    unit,
    baseline: baselines.length === 0 ? null : median(baselines),
    ratio,
    spread: spreadOf(ratios.length === 0 ? values : ratios),
    target: target === undefined ? '' : describeTarget(target, unit),
    met: target === undefined ? null : isMet(target, target.of === 'value' ? value : ratio)
  }
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Between two values it interpolates. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((one, other) => one - other)
  const at = (sorted.length - 1) * share
  const below = sorted[Math.floor(at)] ?? Number.NaN
  const above = sorted[Math.ceil(at)] ?? Number.NaN
  return below + (above - below) * (at - Math.floor(at))
}

/** Runs the work `count` times; times a second. */
export async function ratePerSecond(
  count: number,
  work: (index: number) => unknown
): Promise<number> {
  const start = performance.now()
  for (let index = 0; index < count; index += 1) await work(index)
  return (count / (performance.now() - start)) * 1000
}

/** Runs the work `count` times, `atOnce` of them at one time; times a second. */
export async function rateTogether(
  count: number,
  atOnce: number,
  work: () => Promise<unknown>
): Promise<number> {
  const start = performance.now()
  let begun = 0
  const inTurn = async () => {
    while (begun < count) {
      begun += 1
      await work()
    }
  }
  await Promise.all(Array.from({ length: atOnce }, inTurn))
  return (count / (performance.now() - start)) * 1000
}

/** Runs the synchronous work `count` times; microseconds each. */
export function microsecondsEach(count: number, work: (index: number) => unknown): number {
  const start = performance.now()
  for (let index = 0; index < count; index += 1) work(index)
  return ((performance.now() - start) / count) * 1000
}

function spreadOf(values: readonly number[]): number | null {
  const middle = median(values)
  if (values.length < 3 || middle === 0) return null
  return (quantile(values, 0.75) - quantile(values, 0.25)) / middle
}

function isMet({ atLeast, atMost }: Target, found: number | null): boolean | null {
  if (found === null) return null
  return (atLeast === undefined || found >= atLeast) && (atMost === undefined || found <= atMost)
}

function describeTarget({ of, atLeast, atMost }: Target, unit: string): string {
  const number = Number((atLeast ?? atMost ?? 0).toPrecision(3))
  const bound = `${atLeast === undefined ? '≤' : '≥'} ${number}`
  return of === 'ratio' ? `${bound}×` : `${bound} ${unit}`
}
