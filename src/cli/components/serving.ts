/**
 * The server certificate of one component's listener: kept by ourselves in a Secret, or read from files.
 *
 * Loads the keeper only where it is wanted.
 */
import type { Listener } from '../../server/listener.ts'
import { checkPair, type PairFiles, readPair, ServingPairError } from '../../server/serving-pair.ts'
import { createServingReload } from '../../server/serving-reload.ts'
import type { ServingPair } from '../../server/tls.ts'
import type { CaBundle } from '../../serving/ca-bundle.ts'
import type { Announcer, Keeper } from '../../serving/keeper.ts'
import { type CertifiedComponent, profileOf, type ServingComponent } from '../../serving/profile.ts'
import { ConfigurationError, type Surroundings } from './component.ts'

export interface Serving {
  /** For the listener's making; `later`: it gets its pair before it starts. */
  initial: ServingPair | 'later'
  /** Hands the listener every pair from now on. */
  attach(listener: Listener): void
  start(): void
  stop(): Promise<void>
  readonly whenUsable: Promise<void>
  /** Why the listener should not be sent anything. */
  problem(): string | undefined
}

/** Throws {@link ConfigurationError} where the files are at fault. */
export function createServing(
  component: ServingComponent,
  surroundings: Surroundings
): Promise<Serving> {
  const { serving } = surroundings.settings
  return serving.kind === 'files'
    ? fromFiles(component, serving, surroundings)
    : selfManaged(component, surroundings)
}

/** For the preview, which has no Secret of its own. Throws as {@link createServing} does. */
export function createPreviewServing(surroundings: Surroundings): Promise<Serving> {
  const { serving } = surroundings.settings
  return serving.kind === 'files'
    ? fromFiles('preview', serving, surroundings)
    : forTheMoment(surroundings)
}

async function fromFiles(
  component: CertifiedComponent,
  files: PairFiles,
  { metrics, log, clocks, lookEveryMs }: Surroundings
): Promise<Serving> {
  const initial = await readPair(files)
    .then(pair => checkPair(pair, files, clocks.wall()))
    .catch(error => {
      if (!(error instanceof ServingPairError)) throw error
      throw new ConfigurationError(`${error.setting}: ${error.message}`, { cause: error })
    })
  const certificate = `${component}-serving` as const
  metrics.certificateExpiry(certificate, initial.notAfter)
  let listener: Listener | undefined
  const reload = createServingReload({
    files,
    initial,
    clock: clocks.wall,
    use: pair => listener?.useServing(pair),
    onDone({ notAfter, subjectAltName }) {
      metrics.reload('serving', 'done')
      metrics.certificateExpiry(certificate, notAfter)
      log.info(
        { listener: component, notAfter, subjectAltName },
        'the server certificate is read anew'
      )
    },
    onFailed(error) {
      metrics.reload('serving', 'failed')
      log.error(
        { listener: component, err: error },
        'the changed server certificate cannot be used; the former one stays'
      )
    }
  })
  return {
    initial,
    attach(taken) {
      listener = taken
    },
    start: () => reload.start(lookEveryMs),
    stop: async () => reload.stop(),
    whenUsable: Promise.resolve(),
    problem() {
      const { notAfter } = reload.current()
      return notAfter.getTime() <= clocks.wall()
        ? `the server certificate ended at ${notAfter.toISOString()}`
        : undefined
    }
  }
}

/** Until the process ends. Nobody can know its CA, so its end protects nobody either: ten years. */
async function forTheMoment({
  settings,
  namespace,
  clocks,
  random
}: Surroundings): Promise<Serving> {
  const { makeAuthority, makeLeaf } = await import('../../serving/material.ts')
  const { clusterDomain } = settings.kubernetes
  const lifetime = 3650 * 86_400_000
  const profile = {
    ...profileOf('webhook', { namespace, clusterDomain }),
    component: 'preview' as const,
    dnsNames: ['localhost', `rayguard-preview.${namespace}.svc`],
    authorityLifetimeMs: lifetime,
    leafLifetimeMs: lifetime
  }
  const making = { profile, now: clocks.wall(), random: random.bytes }
  const { chain, privateKey } = await makeLeaf(await makeAuthority(making), undefined, making)
  return {
    initial: {
      certificate: chain,
      privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    },
    attach() {},
    start() {},
    stop: async () => {},
    whenUsable: Promise.resolve(),
    problem: () => undefined
  }
}

async function selfManaged(
  component: ServingComponent,
  surroundings: Surroundings
): Promise<Serving> {
  const { createKeeper } = await import('../../serving/keeper.ts')
  const { settings, namespace, client, clocks, metrics, log, random, lookEveryMs } = surroundings
  const { clusterDomain } = settings.kubernetes
  let listener: Listener | undefined
  const keeper = createKeeper({
    profile: profileOf(component, { namespace, clusterDomain }),
    client,
    announcer: await announcerFor(component, surroundings),
    clock: clocks.api,
    random: random.bytes,
    everyMs: lookEveryMs,
    use: pair => listener?.useServing(pair),
    onUsed({ leafEnds, authorityEnds }) {
      metrics.reload('serving', 'done')
      metrics.certificateExpiry(`${component}-serving`, leafEnds)
      if (authorityEnds) metrics.certificateExpiry(`${component}-serving-ca`, authorityEnds)
      log.info({ listener: component, notAfter: leafEnds }, 'the server certificate is in use')
    },
    onStep(step, repaired) {
      const line = { listener: component, step, ...(repaired.length > 0 ? { repaired } : {}) }
      log[repaired.length > 0 ? 'warn' : 'info'](line, 'the serving Secret was written')
    },
    onProblem(code, message, error) {
      metrics.reload('serving', 'failed')
      const err = error === undefined ? {} : { err: error }
      log.error({ listener: component, code, reason: message, ...err }, 'the server certificate')
    }
  })
  metrics.gauge(
    `rayguard_${component}_serving_problem`,
    `1 where the server certificate of the ${component} listener cannot be kept as it should be; the log says why.`,
    () => (keeper.problem() === undefined ? 0 : 1)
  )
  return servingOf(keeper, taken => {
    listener = taken
  })
}

function servingOf(keeper: Keeper, attach: (listener: Listener) => void): Serving {
  const { start, stop, whenUsable, unusable } = keeper
  return { initial: 'later', attach, start, stop, whenUsable, problem: unusable }
}

async function announcerFor(
  component: ServingComponent,
  surroundings: Surroundings
): Promise<Announcer> {
  const { client, namespace, log } = surroundings
  if (component === 'webhook') return announcedCaBundle(surroundings)
  const { createCaConfigMap } = await import('../../serving/ca-config-map.ts')
  return createCaConfigMap({
    client,
    namespace,
    onPublished() {
      log.info('the CA of the enrollment listener is published')
    }
  })
}

/** The caBundle of the registration, with its metrics. */
export async function announcedCaBundle({ client, log, metrics }: Surroundings): Promise<CaBundle> {
  const { createCaBundle } = await import('../../serving/ca-bundle.ts')
  const bundle = createCaBundle({
    client,
    onAnnounced(kind, entries) {
      log.info({ kind, entries }, 'the caBundle of the registration was written')
    }
  })
  metrics.gauge(
    'rayguard_webhook_entries',
    'Entries of the webhook configurations of Rayguard; 0 where nothing is registered.',
    () => bundle.entries().all
  )
  metrics.gauge(
    'rayguard_webhook_entries_announced',
    'Those of them whose caBundle is the one that this webhook wants.',
    () => bundle.entries().announced
  )
  return bundle
}
