/**
 * `rayguard serve`: puts the parts together, and takes them apart at the end.
 *
 * The composition root: here alone clocks, randomness and the environment enter. A process without the enrollment
 * component never loads what signs.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { setTimeout as sleepFor } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { limits } from '../server/limits.ts'
import { createListener } from '../server/listener.ts'
import { opsRoutes } from '../server/ops-routes.ts'
import { createReadiness } from '../server/readiness.ts'
import { shutDown } from '../server/shutdown.ts'
import type { Settings } from '../settings/load.ts'
import { createLogger } from '../telemetry/logger.ts'
import { createMetrics } from '../telemetry/metrics.ts'
import { type Command, type CommandIo, exitCodes } from './command.ts'
import { aboutUs } from './components/about.ts'
import {
  type Clocks,
  type Component,
  ConfigurationError,
  type Surroundings
} from './components/component.ts'
import { connect, needsKubernetes, noClient, ownNamespace } from './components/kubernetes.ts'
import { createSkew } from './components/skew.ts'
import { settingsFor } from './settings-file.ts'
import { version } from './version.ts'

export const command: Command = serveCommand({ lookEveryMs: 10_000 })

/** `lookEveryMs`: how often certificate files are compared with what is in use. */
export function serveCommand({ lookEveryMs }: { lookEveryMs: number }): Command {
  return {
    name: 'serve',
    summary: 'run the admission webhook, the enrollment server, the preview',
    help: `Usage: rayguard serve [--config FILE] [--components LIST]

Runs the admission webhook and the enrollment server, or what else is listed, until SIGTERM, then ends without a failed
request. A second signal ends it at once. The log goes to standard output, one JSON object a line.

Options:
  --config FILE       settings file; default $RAYGUARD_CONFIG, else /etc/rayguard/config.yaml if there is one
  --components LIST   what to serve, separated by commas: webhook, enrollment (these two are the default), preview,
                      replacement
  -h, --help          show this text

Every setting can also be an environment variable; docs/settings.md lists them. \`rayguard check-config\` looks at the
settings and at every file that they name.

Exit codes: 0 ended by a signal; 1 it could not start or had to cut requests off at its end; 2 wrong arguments or settings.
`,
    async run(argumentsList, io) {
      const { values } = parseArgs({
        args: argumentsList,
        options: { config: { type: 'string' }, components: { type: 'string' } }
      })
      const source = { config: values.config, components: values.components }
      const settings = await settingsFor({ ...source, environment: io.environment }, io.stderr)
      if (settings === undefined) return exitCodes.usage
      try {
        return await serve(settings, io, lookEveryMs)
      } catch (error) {
        if (!(error instanceof ConfigurationError)) throw error
        io.stderr.write(`rayguard serve: ${error.message}\n`)
        return exitCodes.usage
      }
    }
  }
}

async function serve(settings: Settings, io: CommandIo, lookEveryMs: number): Promise<number> {
  const log = createLogger({
    level: settings.log.level,
    destination: { write: io.stdout.write.bind(io.stdout) }
  })
  const metrics = createMetrics({ version: version() })
  const readiness = createReadiness()
  const skew = createSkew({ wall: Date.now, log, metrics })
  const clocks: Clocks = { wall: Date.now, api: skew.now, steady: () => performance.now() }
  const client = needsKubernetes(settings)
    ? await connect(settings, io.environment, clocks, skew.note)
    : noClient()
  const surroundings: Surroundings = {
    settings,
    namespace: await ownNamespace(settings),
    client,
    readiness,
    metrics,
    log,
    common: { requestId: randomUUID, log },
    clocks,
    lookEveryMs,
    random: { bytes: randomBytes, fraction: Math.random }
  }
  const components = await createComponents(surroundings)
  const listeners = components.flatMap(({ listener }) => listener ?? [])
  const ops = await createListener({
    ...settings.listen.ops,
    requestId: randomUUID,
    log,
    name: 'ops',
    limits: limits.ops,
    register: opsRoutes({ readiness, metrics, about: () => aboutUs(components, clocks, metrics) })
  })
  readiness.add('serving', () => servingProblem(components))
  for (const name of Object.keys(readiness.report().checks)) {
    metrics.check(name, () => readiness.report().checks[name] === 'ok')
  }

  const closers = [...components.map(({ stop }) => stop), client.close]
  const failed = new AbortController()
  try {
    const { address, port } = await ops.start()
    log.info({ listener: 'ops', address, port, version: version() }, 'listening')
    const signal = AbortSignal.any([io.signal, failed.signal])
    await Promise.all(components.map(component => component.start(signal)))
    await aborted(io.signal)
  } catch (error) {
    // One part could not start: the others must not go on without it.
    failed.abort()
    for (const listener of [...listeners, ops]) {
      listener.cut()
      await listener.close()
    }
    for (const close of closers) await close()
    throw error
  }
  const inTime = await shutDown({
    readiness,
    listeners,
    ops,
    closers,
    drainMs: settings.shutdown.drainSeconds * 1000,
    deadlineMs: settings.shutdown.deadlineSeconds * 1000,
    log,
    sleep
  })
  log.info('ended')
  return inTime ? exitCodes.ok : exitCodes.failed
}

/** Loaded on demand: the webhook's process does not hold the code that signs, nor the other way round. */
async function createComponents(surroundings: Surroundings): Promise<Component[]> {
  const components: Component[] = []
  for (const name of surroundings.settings.components) {
    switch (name) {
      case 'webhook': {
        const { createWebhook } = await import('./components/webhook.ts')
        components.push(await createWebhook(surroundings))
        break
      }
      case 'enrollment': {
        const { createEnrollmentServer } = await import('./components/enrollment.ts')
        components.push(await createEnrollmentServer(surroundings))
        break
      }
      case 'preview': {
        components.push(await previewIn(surroundings))
        break
      }
      case 'replacement': {
        const { createPodReplacement } = await import('./components/replacement.ts')
        components.push(createPodReplacement(surroundings))
        break
      }
      default: {
        const unknown: never = name
        throw new Error(`there is no component ${String(unknown)}`)
      }
    }
  }
  return components
}

/** What it must not reach itself is put into its hands. */
async function previewIn(surroundings: Surroundings): Promise<Component> {
  const { client: _, ...others } = surroundings
  const { createPreview } = await import('./components/preview.ts')
  const { createPreviewServing } = await import('./components/serving.ts')
  const serving = await createPreviewServing(surroundings)
  const { injection } = surroundings.settings
  // What the webhook would put into pods, where that can be known.
  if (injection.serverCaFile === undefined && !needsKubernetes(surroundings.settings))
    return createPreview(others, { serving })
  const { currentServerCa } = await import('./components/server-ca.ts')
  return createPreview(others, { serving, serverCa: await currentServerCa(surroundings) })
}

function servingProblem(components: readonly Component[]): string | undefined {
  return components.map(({ serving }) => serving?.problem()).find(problem => problem !== undefined)
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

async function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  await sleepFor(milliseconds, undefined, signal === undefined ? {} : { signal }).catch(() => {})
}
