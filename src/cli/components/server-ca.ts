/** What the webhook puts into pods, with the CA of the enrollment listener as it is now. */
import { readFile } from 'node:fs/promises'
import type { InjectionSettings } from '../../injection/settings.ts'
import type { ConfigMap } from '../../kubernetes/objects.ts'
import { path } from '../../kubernetes/path.ts'
import { enrollmentCaConfigMap, enrollmentCaKey } from '../../serving/profile.ts'
import { createServerCa, type ServerCa } from '../../serving/server-ca.ts'
import { readTrustBundle } from '../../serving/trust-bundle.ts'
import { shownSettings } from '../stand-ins.ts'
import { ConfigurationError, neededImage, type Surroundings } from './component.ts'

export interface CurrentInjection {
  /** Throws before {@link ServerCa.whenKnown} is settled. */
  settings(): InjectionSettings
  serverCa: ServerCa
}

/** Throws {@link ConfigurationError} where a file is named that cannot be used. */
export async function currentInjection(surroundings: Surroundings): Promise<CurrentInjection> {
  const { settings, namespace } = surroundings
  neededImage(settings)
  const serverCa = await currentServerCa(surroundings)
  let made: InjectionSettings | undefined
  return {
    serverCa,
    settings() {
      const current = serverCa.current()
      // The same object while nothing changes: what is derived from it can be kept.
      if (made?.serverCa !== current) {
        made = shownSettings(settings, { namespace, serverCa: current })
      }
      return made
    }
  }
}

/** As {@link currentInjection}. */
export async function currentServerCa(surroundings: Surroundings): Promise<ServerCa> {
  const { settings, clocks, lookEveryMs, metrics, log } = surroundings
  const { serverCaFile } = settings.injection
  const serverCa = createServerCa({
    ...(serverCaFile === undefined ? fromConfigMap(surroundings) : fromFile(serverCaFile)),
    clock: clocks.wall,
    everyMs: lookEveryMs,
    onChanged(ends) {
      metrics.reload('serverCa', 'done')
      metrics.certificateExpiry('server-ca', ends)
      log.info({ notAfter: ends }, 'the CA that pods trust for enrollment is read')
    },
    onProblem(message, error) {
      metrics.reload('serverCa', 'failed')
      const err = error === undefined ? {} : { err: error }
      log.error({ reason: message, ...err }, 'the CA that pods trust for enrollment')
    }
  })
  if (serverCaFile !== undefined) await readServerCaFile(serverCaFile, clocks.wall())
  return serverCa
}

/** PEM. Throws {@link ConfigurationError}. */
export async function readServerCaFile(file: string, now: number): Promise<string> {
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new ConfigurationError(
      `injection.serverCaFile: the file ${file} cannot be read (${cause.code})`,
      { cause }
    )
  })
  const reading = readTrustBundle(text, now)
  if ('problem' in reading) {
    throw new ConfigurationError(`injection.serverCaFile: ${reading.problem} in ${file}`)
  }
  return reading.bundle
}

function fromFile(file: string) {
  return { place: `injection.serverCaFile ${file}`, read: () => readFile(file, 'utf8') }
}

function fromConfigMap({ client, namespace }: Surroundings) {
  const place = path`/api/v1/namespaces/${namespace}/configmaps/${enrollmentCaConfigMap}`
  return {
    place: `the ConfigMap ${namespace}/${enrollmentCaConfigMap}, which the enrollment server writes`,
    read: async () => (await client.get<ConfigMap>(place))?.data?.[enrollmentCaKey]
  }
}
