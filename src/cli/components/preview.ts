/**
 * The preview, put together: the thread that works dry runs out, the routes, the listener.
 *
 * Is given neither the Kubernetes API nor anything that signs, and may import nothing that leads there.
 */
import { builtAssets } from '../../page/assets.ts'
import { pageRoutes } from '../../page/routes.ts'
import type { Answer } from '../../preview/answer.ts'
import { openApiRoutes } from '../../preview/openapi-route.ts'
import { type DryRunObservation, dryRunRoutes } from '../../preview/route.ts'
import { createDryRunWorker } from '../../preview/worker.ts'
import { limits } from '../../server/limits.ts'
import { createListener } from '../../server/listener.ts'
import type { ServerCa } from '../../serving/server-ca.ts'
import { framesOf } from '../../telemetry/describe-error.ts'
import { shownSettings } from '../stand-ins.ts'
import { version } from '../version.ts'
import { type Component, type Surroundings, untilAborted } from './component.ts'
import type { Serving } from './serving.ts'

/** Of one request, which has at most one MiB; on a busy machine the largest ordinary one takes some seconds. */
const timeLimitMs = 10_000
const memoryLimitMib = 192
const waiting = 15

export type PreviewSurroundings = Omit<Surroundings, 'client'>

export interface PreviewParts {
  serving: Serving
  /** The CA that pods are told to trust, where this process knows it. */
  serverCa?: Pick<ServerCa, 'current' | 'known' | 'problem' | 'whenKnown' | 'start' | 'stop'>
}

export async function createPreview(
  surroundings: PreviewSurroundings,
  { serving, serverCa }: PreviewParts
): Promise<Component> {
  const { settings, namespace, readiness, metrics, log } = surroundings
  const worker = createDryRunWorker({
    timeLimitMs,
    memoryLimitMib,
    waiting,
    onReplaced({ ended, error }) {
      // Of a fault the place alone: its message may repeat what was sent.
      const at = ended === 'Fault' && error instanceof Error ? { at: framesOf(error) } : {}
      const line = { listener: 'preview', reason: ended, ...at }
      log[ended === 'Fault' ? 'error' : 'warn'](line, 'the thread for dry runs is replaced')
    }
  })
  const listener = await createListener({
    ...surroundings.common,
    ...settings.listen.preview,
    name: 'preview',
    serving: serving.initial,
    limits: limits.preview,
    onReply: status => metrics.reply('preview', status),
    async register(app) {
      await app.register(
        dryRunRoutes({
          ask: (question, signal) => asked(worker.ask(question, signal)),
          settings: () => ({
            settings: shownSettings(settings, { namespace, serverCa: serverCa?.current() }),
            clusterDomain: settings.kubernetes.clusterDomain
          }),
          observe: observation => observe(observation, surroundings)
        })
      )
      await app.register(openApiRoutes({ version: version() }))
      const assets = builtAssets()
      if (assets !== undefined) await app.register(pageRoutes(assets))
    }
  })
  serving.attach(listener)
  let listening = false
  readiness.add('preview', () => (listening ? undefined : 'does not listen yet'))
  readiness.add('dryRuns', worker.problem)
  if (serverCa !== undefined) {
    readiness.add('serverCa', () =>
      serverCa.known() ? undefined : (serverCa.problem() ?? 'not read yet')
    )
  }
  return {
    name: 'preview',
    listener,
    serving,
    async start(signal) {
      worker.start()
      serving.start()
      serverCa?.start()
      const known = Promise.all([serving.whenUsable, serverCa?.whenKnown])
      if (!(await untilAborted(known, signal))) return
      const { address, port } = await listener.start()
      listening = true
      log.info({ listener: 'preview', address, port }, 'listening')
    },
    async stop() {
      await Promise.all([serverCa?.stop(), serving.stop(), worker.stop()])
    }
  }
}

type Asked = Answer | 'TooCostly' | 'Overloaded'

/** What the thread has thrown is a fault of ours, and its text is not for the log. */
async function asked(answer: Promise<Asked>): Promise<Asked> {
  try {
    return await answer
  } catch {
    throw new Error('the thread for dry runs failed; the line of its replacement says where')
  }
}

function observe(
  { code, durationSeconds, requestId, bytes, output, pods }: DryRunObservation,
  { metrics, log }: PreviewSurroundings
): void {
  metrics.dryRun({ code, seconds: durationSeconds })
  log.info({ code, requestId, durationSeconds, bytes, output, pods }, 'dry run answered')
}
