/** One line of `rayguard status`: what was looked at, how it stands, and what to do about it. */
export interface Check {
  section: Section
  /** Stable, for scripts. */
  id: string
  state: 'ok' | 'warning' | 'failed'
  text: string
  /** What to do; with every failure. */
  advice?: string
}

export const sections = [
  'Kubernetes API',
  'Registration',
  'Replicas',
  'Certificates',
  'Rights',
  'Policies',
  'Namespaces',
  'Ray clusters',
  'Next step'
] as const
export type Section = (typeof sections)[number]

/** Checks of one section. */
export function createChecks(section: Section) {
  const list: Check[] = []
  return {
    list,
    ok: (id: string, text: string) => void list.push({ section, id, state: 'ok', text }),
    warn: (id: string, text: string, advice?: string) =>
      void list.push({ section, id, state: 'warning', text, ...(advice ? { advice } : {}) }),
    fail: (id: string, text: string, advice: string) =>
      void list.push({ section, id, state: 'failed', text, advice })
  }
}

export const day = 86_400_000

export function daysUntil(end: string, now: number): number {
  return Math.floor((Date.parse(end) - now) / day)
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`
}

/** In the largest unit of which it has at least two. */
export function timeUntil(end: string, now: number): string {
  const minutes = Math.max(0, Math.floor((Date.parse(end) - now) / 60_000))
  if (minutes >= 2 * 24 * 60) return count(Math.floor(minutes / (24 * 60)), 'day')
  return minutes >= 120 ? count(Math.floor(minutes / 60), 'hour') : count(minutes, 'minute')
}
