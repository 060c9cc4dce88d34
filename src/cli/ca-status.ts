/**
 * `rayguard ca status`: who signs Ray pods, which pods still hold a certificate of a former CA or do not trust the next one
 * yet, and what to do next.
 *
 * Reads only, with the rights of the person who asks: pods, and what the enrollment server says of itself.
 */
import type { Pod } from '../kubernetes/objects.ts'
import { path } from '../kubernetes/path.ts'
import { clusterLabel } from '../ray/classify.ts'
import { type ClusterFlags, listAll, withCluster, withRights } from './cluster.ts'
import { type CommandIo, exitCodes } from './command.ts'
import { type AuthorityReport, authorityReport, isAway } from './status/authority.ts'
import { authorityChecks } from './status/authority-checks.ts'
import { type Check, createChecks } from './status/check.ts'
import { replicasIn } from './status/observe.ts'
import { render } from './status/render.ts'

export interface CaStatusOptions extends ClusterFlags {
  output: 'text' | 'json'
  /** Only the Ray pods of this one, and then nothing on the next step. */
  namespace: string | undefined
  rayguardNamespace: string
  now: number
}

export async function caStatus(options: CaStatusOptions, io: CommandIo): Promise<number> {
  return await withRights('ca status', () => withCluster(options, client => look(client)), io)

  async function look(client: Parameters<typeof replicasIn>[0]): Promise<number> {
    const { namespace, rayguardNamespace } = options
    const pods =
      namespace === undefined ? '/api/v1/pods' : path`/api/v1/namespaces/${namespace}/pods`
    const [replicas, rayPods] = await Promise.all([
      replicasIn(client, rayguardNamespace),
      listAll<Pod>(client, pods, clusterLabel)
    ])
    const report = authorityReport(replicas, rayPods, { partial: namespace !== undefined })
    const checks =
      report === undefined
        ? unknownAuthority(rayguardNamespace, replicas.some(isAway))
        : authorityChecks(report, options.now)
    const ok = checks.every(({ state }) => state !== 'failed')
    io.stdout.write(options.output === 'json' ? json(ok, checks, report) : render(checks))
    return ok ? exitCodes.ok : exitCodes.failed
  }
}

function json(ok: boolean, checks: Check[], report: AuthorityReport | undefined): string {
  const { anchors = [], clusters = [], due, next } = report ?? {}
  return `${JSON.stringify({ ok, checks, authorities: anchors, clusters, clusterCas: due, next }, null, 2)}\n`
}

function unknownAuthority(namespace: string, away: boolean): Check[] {
  const { list, fail } = createChecks('Certificates')
  if (away) {
    fail(
      'AuthorityUnknown',
      `No replica of the enrollment server in ${namespace} has reached the CA since it started, so nothing can be said of any pod.`,
      'Leave all pods as they are. Its log and rayguard status say what keeps it from the CA.'
    )
  } else {
    fail(
      'AuthorityUnknown',
      `No replica of the enrollment server in ${namespace} says who signs.`,
      'It is asked through the API server, which needs the right to get pods/proxy there; rayguard status says more.'
    )
  }
  return list
}
