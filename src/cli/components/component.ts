import type { ReplicaStatus } from '../../contract/status.ts'
import type { Client } from '../../kubernetes/client.ts'
import type { Listener, ListenerOptions } from '../../server/listener.ts'
import type { Readiness } from '../../server/readiness.ts'
import type { Settings } from '../../settings/load.ts'
import type { Component as ComponentName } from '../../settings/schema.ts'
import type { Logger } from '../../telemetry/logger.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import type { Serving } from './serving.ts'

/** One of the things that this process serves. */
export interface Component {
  name: ComponentName
  /** Absent where nobody has anything to ask of it. */
  listener?: Listener
  serving?: Serving
  /** What it adds to what this process says of itself. */
  about?(): Pick<ReplicaStatus, 'authority' | 'clientCertificates'>
  /** Starts the watches, and listens as soon as an answer would be right. */
  start(signal: AbortSignal): Promise<void>
  /** After the listener is closed. */
  stop(): Promise<void>
}

/** What every component is given. */
export interface Surroundings {
  settings: Settings
  /** Rayguard's own. */
  namespace: string
  client: Client
  readiness: Readiness
  metrics: Metrics
  log: Logger
  /** What all listeners have in common. */
  common: Pick<ListenerOptions, 'requestId' | 'log'>
  clocks: Clocks
  random: Randomness
  /** How often files are looked at that may be replaced while we run. */
  lookEveryMs: number
}

export interface Clocks {
  /** Milliseconds since the epoch. */
  wall: () => number
  /** The same as the API server counts them, as far as its answers have told. */
  api: () => number
  /** Milliseconds that never go back. */
  steady: () => number
}

export interface Randomness {
  bytes: (size: number) => Uint8Array
  /** From 0 to 1, for jitter alone. */
  fraction: () => number
}

/** A setting or a file that it names is wrong: the program ends with the usage code. */
export class ConfigurationError extends Error {
  readonly code = 'Configuration'

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ConfigurationError'
  }
}

/** Of the init container; rules between settings see to it that those who need it have it. */
export function neededImage({ injection }: Settings): string {
  if (injection.image === undefined) throw new ConfigurationError('injection.image is needed')
  return injection.image
}

/** True once `promise` is settled, false when the signal came first. */
export async function untilAborted(
  promise: Promise<unknown>,
  signal: AbortSignal
): Promise<boolean> {
  if (signal.aborted) return false
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => resolve(false), { once: true })
    promise.then(() => resolve(true), reject)
  })
}
