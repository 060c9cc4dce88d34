/** Writes the caBundle of a registration from a file (`registration.caBundleFile`), where the pair comes from files too. */
import { readFile } from 'node:fs/promises'
import { readTrustBundle } from '../../serving/trust-bundle.ts'
import { ConfigurationError, type Surroundings } from './component.ts'
import { announcedCaBundle } from './serving.ts'

export interface RegistrationFile {
  start(): void
  stop(): Promise<void>
}

/** Undefined without the setting. Throws {@link ConfigurationError} where the file cannot be used. */
export async function caBundleFromFile(
  surroundings: Surroundings
): Promise<RegistrationFile | undefined> {
  const { settings, clocks, log, lookEveryMs } = surroundings
  const file = settings.registration.caBundleFile
  if (file === undefined) return undefined
  let current = await read(file, clocks.wall())
  const bundle = await announcedCaBundle(surroundings)
  let reported = ''
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()
  let stopped = false
  return {
    start: again,
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    }
  }

  function again(): void {
    running = look(file ?? '').then(() => {
      if (stopped) return
      timer = setTimeout(again, lookEveryMs)
      timer.unref()
    })
  }

  async function look(place: string): Promise<void> {
    try {
      current = await read(place, clocks.wall())
      reported = ''
    } catch (error) {
      report(error)
    }
    // The last good one stays announced.
    await bundle.ensure(current).catch(report)
  }

  /** Once for each problem. */
  function report(error: unknown): void {
    const message = error instanceof Error ? error.message : String(error)
    if (message !== reported) log.error({ err: error }, 'the caBundle of the registration')
    reported = message
  }
}

async function read(file: string, now: number): Promise<string> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigurationError(
      `registration.caBundleFile: the file ${file} cannot be read (${cause.code})`,
      { cause }
    )
  })
  const reading = readTrustBundle(text, now)
  if ('problem' in reading) {
    throw new ConfigurationError(`registration.caBundleFile: ${reading.problem} in ${file}`)
  }
  return reading.bundle
}
