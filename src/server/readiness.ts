/** Whether this process should be sent requests: named checks, all of which must pass. */
export interface Readiness {
  /** `problem` is asked each time; its text says what is missing, undefined that nothing is. */
  add(name: string, problem: () => string | undefined): void
  /** Not ready any more, whatever the checks say. */
  withdraw(reason: string): void
  report(): ReadinessReport
}

export interface ReadinessReport {
  ready: boolean
  /** `ok`, or what is missing. */
  checks: Record<string, string>
}

export function createReadiness(): Readiness {
  const problems = new Map<string, () => string | undefined>()
  return {
    add(name, problem) {
      problems.set(name, problem)
    },
    withdraw(reason) {
      problems.set('shutdown', () => reason)
    },
    report() {
      const found = [...problems].map(([name, problem]) => [name, problem()] as const)
      return {
        // A process without any check has not begun yet.
        ready: found.length > 0 && found.every(([, problem]) => problem === undefined),
        checks: Object.fromEntries(found.map(([name, problem]) => [name, problem ?? 'ok']))
      }
    }
  }
}
