/** The cluster of the person who runs a command: by kubeconfig, with that person's own rights. */
import { type Client, createClient } from '../kubernetes/client.ts'
import { kubeconfigConnection } from '../kubernetes/connection.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { KubernetesObject } from '../kubernetes/objects.ts'
import { type CommandIo, exitCodes, UsageError } from './command.ts'

export interface ClusterFlags {
  kubeconfig?: string | undefined
  context?: string | undefined
}

export const clusterFlags = {
  kubeconfig: { type: 'string' },
  context: { type: 'string' }
} as const

export const clusterHelp = `  --kubeconfig FILE      default $KUBECONFIG, else ~/.kube/config
  --context NAME         default the current context of that file`

const timeoutMs = 10_000

/** `onDate`: the clock of the API server. Throws {@link UsageError} where the kubeconfig is of no use. */
export async function withCluster<T>(
  { kubeconfig, context }: ClusterFlags,
  work: (client: Client) => Promise<T>,
  onDate?: (date: Date) => void
): Promise<T> {
  const connection = await kubeconfigConnection({
    ...(kubeconfig === undefined ? {} : { file: kubeconfig }),
    ...(context === undefined ? {} : { context })
  }).catch((error: unknown) => {
    if (error instanceof KubernetesError && error.code === 'Credentials') {
      throw new UsageError(error.message, { cause: error })
    }
    throw error
  })
  const client = createClient(connection, { timeoutMs, ...(onDate ? { onDate } : {}) })
  try {
    return await work(client)
  } finally {
    await client.close()
  }
}

/** What `work` resolves to, or the API's own words on a right that is missing, with where all of them are named. */
export async function withRights(
  command: string,
  work: () => Promise<number>,
  io: Pick<CommandIo, 'stderr'>
): Promise<number> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof KubernetesError && error.code === 'Forbidden')) throw error
    io.stderr.write(
      `rayguard ${command}: you lack a right: ${error.message}\n` +
        `Ask an administrator for the rights that \`rayguard ${command} --help\` names.\n`
    )
    return exitCodes.failed
  }
}

/** All pages. */
export async function listAll<T extends KubernetesObject>(
  client: Client,
  path: string,
  labelSelector?: string
): Promise<T[]> {
  const found: T[] = []
  let next: string | undefined
  do {
    const page = await client.list<T>(path, { limit: 250, continue: next, labelSelector })
    found.push(...page.items)
    next = page.metadata.continue || undefined
  } while (next !== undefined)
  return found
}
