import type { Logger } from '../../telemetry/logger.ts'

export interface Rights {
  start(): void
  stop(): void
  /** Which are missing, or why that is not known. */
  problem(): string | undefined
}

const everyMs = 30_000

/**
 * Asks until this service account has all of them. A right that is missing would show only in the first who needs it, as
 * "again later".
 */
export function watchRights(missingRights: () => Promise<string[]>, log: Logger): Rights {
  let problem: string | undefined = 'the rights of this service account are not known yet'
  let timer: NodeJS.Timeout | undefined
  let stopped = false

  return {
    start: () => void ask(),
    stop() {
      stopped = true
      clearTimeout(timer)
    },
    problem: () => problem
  }

  async function ask(): Promise<void> {
    try {
      const missing = await missingRights()
      if (missing.length > 0) log.error({ missing }, 'this service account lacks rights')
      problem = missing.length === 0 ? undefined : `missing: ${missing.join(', ')}`
    } catch (error) {
      log.warn({ err: error }, 'the rights of this service account cannot be asked for')
      problem = 'the Kubernetes API does not answer'
    }
    if (problem === undefined || stopped) return
    timer = setTimeout(() => void ask(), everyMs)
    timer.unref()
  }
}
