/**
 * `rayguard status`: how the installation stands and what each Ray pod has, with what to do about it.
 *
 * Reads only, with the rights of the person who asks.
 */
import { parseArgs } from 'node:util'
import { clusterFlags, clusterHelp, withCluster } from './cluster.ts'
import { type Command, exitCodes, UsageError } from './command.ts'
import { installationChecks } from './status/installation.ts'
import { observe } from './status/observe.ts'
import { rayReport } from './status/ray.ts'
import { render } from './status/render.ts'

export const command: Command = statusCommand(Date.now)

export function statusCommand(clock: () => number): Command {
  return {
    name: 'status',
    summary: 'look at the installation and at every Ray pod, and say what to do',
    help: `Usage: rayguard status [OPTIONS]

Looks at the cluster with your own rights and changes nothing: the API server, the registration and whom it trusts, what
each replica says of itself, certificates and their ends, rights, policies, namespaces, and every Ray cluster with what
its pods have. What you may not read is said and left out.

Options:
  -o, --output OUTPUT    text (default), or json: {"ok", "checks", "namespaces", "clusters"}
  -n, --namespace NAME   only the Ray clusters of this namespace
  --rayguard-namespace NAME
                         where Rayguard is installed (default rayguard-system)
${clusterHelp}
  -h, --help             show this text

Each line begins with ✓ (well), ! (to look at) or ✗ (wrong); what to do follows behind an arrow.

Exit codes: 0 nothing is wrong; 1 something is; 2 wrong arguments or no usable kubeconfig.
`,
    async run(argumentsList, io) {
      const { values } = parseArgs({
        args: argumentsList,
        options: {
          output: { type: 'string', short: 'o', default: 'text' },
          namespace: { type: 'string', short: 'n' },
          'rayguard-namespace': { type: 'string', default: 'rayguard-system' },
          ...clusterFlags
        }
      })
      const { output } = values
      if (output !== 'text' && output !== 'json') {
        throw new UsageError(`--output must be text or json, found ${JSON.stringify(output)}`)
      }
      let ahead: number | undefined
      const observed = await withCluster(
        values,
        client =>
          observe(client, {
            namespace: values['rayguard-namespace'],
            rayNamespace: values.namespace,
            clock,
            clockAheadMs: () => ahead
          }),
        date => {
          ahead = date.getTime() - clock()
        }
      )
      const { namespaces, clusters, checks: rayChecks } = rayReport(observed)
      const checks = [...installationChecks(observed), ...rayChecks]
      const ok = checks.every(({ state }) => state !== 'failed')
      io.stdout.write(
        output === 'json'
          ? `${JSON.stringify({ ok, checks, namespaces, clusters }, null, 2)}\n`
          : render(checks)
      )
      return ok ? exitCodes.ok : exitCodes.failed
    }
  }
}
