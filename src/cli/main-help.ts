/** The text of `rayguard --help`. It stands here, not in the commands, so that showing it loads none of them. */

/** A test holds each line against the command's own summary. */
export const summaries = {
  serve: 'run the admission webhook, the enrollment server, the preview',
  status: 'look at the installation and at every Ray pod, and say what to do',
  register: 'have the API server ask Rayguard about Ray pods, in all namespaces or in one',
  unregister:
    'take away the registration and the policy bindings, so that nothing of Rayguard blocks pods',
  pause: 'leave namespaces alone for a while, so that nothing of Rayguard is in the way',
  resume: 'take paused namespaces back',
  'check-config': 'report every problem of a settings file and of the files it names',
  'dry-run': 'show what the webhook would do to pods and RayClusters, offline',
  'pod-security': 'judge pods by the Pod Security Standard, offline',
  verify: 'try a TLS handshake as a pod would, and say which name or certificate failed',
  ca: 'make, show and check the certificate authority, and see its rotation through',
  'client-cert': 'get a certificate for a driver or a notebook outside the pods',
  enroll: 'get the certificate of this pod (the injected init container)',
  demo: 'show the whole way of a certificate on this machine, without a cluster'
} as const

export type CommandName = keyof typeof summaries

export const mainHelp = `Usage: rayguard COMMAND [OPTIONS]

Mutual TLS and the restricted Pod Security Standard for every Ray pod that KubeRay creates.

Commands:
${Object.entries(summaries)
  .map(([name, summary]) => `  ${name.padEnd(14)}${summary}`)
  .join('\n')}

Options:
  -h, --help      show this text; after a command, the text of that command
  -v, --version   show the version

Exit codes: 0 all well; 1 refused, violations remain, or something failed; 2 wrong arguments or configuration.
`
