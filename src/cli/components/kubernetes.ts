import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Client, createClient } from '../../kubernetes/client.ts'
import {
  type Connection,
  inClusterConnection,
  kubeconfigConnection,
  serviceAccountDirectory
} from '../../kubernetes/connection.ts'
import { KubernetesError } from '../../kubernetes/error.ts'
import type { Settings } from '../../settings/load.ts'
import type { Environment } from '../command.ts'
import { type Clocks, ConfigurationError } from './component.ts'

/** For a single call; an API server that takes longer is as good as away for a pod that waits. */
const timeoutMs = 5_000

/** Throws {@link ConfigurationError} where it is not known how to reach the API. */
export async function connect(
  settings: Settings,
  environment: Environment,
  clocks: Pick<Clocks, 'steady'>,
  onDate?: (date: Date) => void
): Promise<Client> {
  try {
    return createClient(await connection(settings, environment, clocks), {
      timeoutMs,
      ...(onDate === undefined ? {} : { onDate })
    })
  } catch (error) {
    if (error instanceof KubernetesError && error.code === 'Credentials') {
      throw new ConfigurationError(`kubernetes: ${error.message}`, { cause: error })
    }
    throw error
  }
}

/** The preview alone has no business with the API. */
export function needsKubernetes({ components }: Settings): boolean {
  return components.some(name => name !== 'preview')
}

/** For who has no business with the API: every call is a fault. */
export function noClient(): Client {
  const refuse = async () => {
    throw new Error('this process has no way to the Kubernetes API')
  }
  return {
    get: refuse,
    list: refuse,
    create: refuse,
    replace: refuse,
    apply: refuse,
    merge: refuse,
    remove: refuse,
    look: refuse,
    // biome-ignore lint/correctness/useYield: it never begins
    async *watch() {
      await refuse()
    },
    close: async () => {}
  }
}

/** Where Rayguard itself is. */
export async function ownNamespace({ kubernetes }: Settings): Promise<string> {
  if (kubernetes.namespace !== undefined) return kubernetes.namespace
  const usual = 'rayguard-system'
  if (kubernetes.kubeconfigFile !== undefined) return usual
  const found = await readFile(join(serviceAccountDirectory, 'namespace'), 'utf8').catch(() => '')
  return found.trim() || usual
}

async function connection(
  { kubernetes }: Settings,
  environment: Environment,
  clocks: Pick<Clocks, 'steady'>
): Promise<Connection> {
  if (kubernetes.kubeconfigFile !== undefined) {
    return kubeconfigConnection({ file: kubernetes.kubeconfigFile })
  }
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment
  if (!host || !port) {
    throw new ConfigurationError(
      'kubernetes.kubeconfigFile: expected a kubeconfig, because this process does not run in a pod (KUBERNETES_SERVICE_HOST is not set)'
    )
  }
  return inClusterConnection({ host, port, clock: clocks.steady })
}
