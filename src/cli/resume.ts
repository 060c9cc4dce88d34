/** `rayguard resume`: takes away the label that `rayguard pause` has set. */
import { pausedLabel } from '../contract/pod.ts'
import { clusterHelp } from './cluster.ts'
import type { Command } from './command.ts'
import { isPaused } from './covered.ts'
import { relabel } from './pause.ts'

export const command: Command = {
  name: 'resume',
  summary: 'take paused namespaces back',
  help: `Usage: rayguard resume NAMESPACE... | --all

Takes the label ${pausedLabel} away, with your own rights. New Ray pods get TLS and the Pod Security fields again.
A Ray cluster whose running pods have no TLS stays without it until all its pods are deleted at once.

Options:
  --all                  every namespace that has the label
${clusterHelp}
  -h, --help             show this text

Exit codes: 0 done; 1 some namespace could not be changed; 2 wrong arguments.
`,
  run: (argumentsList, io) =>
    relabel(argumentsList, io, {
      value: null,
      wanted: isPaused,
      done: 'resumed',
      already: 'is not paused',
      meaning:
        'New Ray pods there are looked at again. Ray clusters that run without TLS stay so until all their pods are deleted ' +
        'at once; rayguard status lists them.'
    })
}
