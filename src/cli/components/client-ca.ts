import type { ChangedFiles } from '../../server/changed-files.ts'
import { ClientCaError, createClientCaReload, readClientCa } from '../../server/client-ca.ts'
import type { Listener, ListenerOptions } from '../../server/listener.ts'
import { ConfigurationError, type Surroundings } from './component.ts'

export interface ClientCa {
  /** For the listener that is being made. */
  options: Pick<ListenerOptions, 'clientCa'>
  /** Hands every change of the file to the listener, until it is stopped. */
  follow(listener: Listener): void
  stop(): void
}

/** Whose client certificates the webhook asks for, if any. Throws {@link ConfigurationError}. */
export async function openClientCa(surroundings: Surroundings): Promise<ClientCa> {
  const { clientCaFile: file } = surroundings.settings.listen.webhook
  if (file === undefined) return { options: {}, follow() {}, stop() {} }
  const clientCa = await checkedClientCa(file)
  let reload: ChangedFiles | undefined
  return {
    options: { clientCa },
    follow(listener) {
      reload = reloadFor(file, clientCa, listener, surroundings)
      reload.start(surroundings.lookEveryMs)
    },
    stop: () => reload?.stop()
  }
}

/** Throws {@link ConfigurationError}. */
export async function checkedClientCa(file: string): Promise<string> {
  try {
    return await readClientCa(file)
  } catch (error) {
    if (!(error instanceof ClientCaError)) throw error
    throw new ConfigurationError(`listen.webhook.clientCaFile: ${error.message}`, { cause: error })
  }
}

function reloadFor(
  file: string,
  initial: string,
  listener: Listener,
  { metrics, log }: Surroundings
): ChangedFiles {
  return createClientCaReload({
    file,
    initial,
    use: listener.useClientCa,
    onDone() {
      metrics.reload('clientCa', 'done')
      log.info('the CA of client certificates is read anew')
    },
    onFailed(error) {
      metrics.reload('clientCa', 'failed')
      log.error(
        { err: error },
        'the changed CA of client certificates cannot be used; the former stays'
      )
    }
  })
}
