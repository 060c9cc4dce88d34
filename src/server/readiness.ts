/**
 * Whether this process should be sent requests, by named checks.
 *
 * What is missing is always told. Most of it keeps requests away; a check that is lacking in all replicas at once must not,
 * where a process can still say so to who asks: without one that is ready a Service has no address, and nobody is told why.
 */
export interface Readiness {
  /**
   * `problem` is asked each time; its text says what is missing, undefined that nothing is. `gates`: whether requests are to be
   * kept away while it is; without it they always are.
   */
  add(name: string, problem: () => string | undefined, options?: { gates?: () => boolean }): void
  /** Not ready any more, whatever the checks say. */
  withdraw(reason: string): void
  report(): ReadinessReport
}

export interface ReadinessReport {
  /** Requests may come. A check that is not `ok` beside it keeps none away. */
  ready: boolean
  /** `ok`, or what is missing. */
  checks: Record<string, string>
}

interface Check {
  problem(): string | undefined
  gates(): boolean
}

export function createReadiness(): Readiness {
  const checks = new Map<string, Check>()
  return {
    add(name, problem, { gates = () => true } = {}) {
      checks.set(name, { problem, gates })
    },
    withdraw(reason) {
      checks.set('shutdown', { problem: () => reason, gates: () => true })
    },
    report() {
      const found = [...checks].map(([name, { problem, gates }]) => {
        return { name, problem: problem(), gates }
      })
      const lacking = found.filter(({ problem }) => problem !== undefined)
      return {
        // A process without any check has not begun yet.
        ready: found.length > 0 && !lacking.some(({ gates }) => gates()),
        checks: Object.fromEntries(found.map(({ name, problem }) => [name, problem ?? 'ok']))
      }
    }
  }
}
