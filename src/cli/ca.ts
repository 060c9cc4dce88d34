import { parseArgs } from 'node:util'
import { authorityAlgorithms, init } from './ca-init.ts'
import { check, type Location, show } from './ca-report.ts'
import { caStatus } from './ca-status.ts'
import { clusterFlags, clusterHelp } from './cluster.ts'
import { type Command, type CommandIo, UsageError } from './command.ts'

const help = `Usage: rayguard ca init --directory DIRECTORY [OPTIONS]
       rayguard ca show [--directory DIRECTORY | --certificate-file FILE]
       rayguard ca check [--directory DIRECTORY | --certificate-file FILE --private-key-file FILE] [OPTIONS]
       rayguard ca status [-n NAMESPACE] [-o OUTPUT] [OPTIONS]

init   makes a CA: ca.crt and ca.key (readable by you alone). Nothing is ever overwritten.
show   prints the certificates of a CA, the one that issues first.
check  does all checks that the server does when it loads a CA: whether gRPC can use it, dates, key, and for trust:
       perCluster whether it can sign CAs.
status says who signs the Ray pods of a cluster, which pods still hold a certificate of a former CA, which do not trust the
       next one yet, and what to do next. It reads with your own rights (pods, pods/proxy of Rayguard) and changes nothing.

Options of init:
  --directory DIRECTORY      where the files go; made if it does not exist
  --name NAME                the common name (default "Rayguard CA")
  --algorithm ALGORITHM      ${authorityAlgorithms.join(', ')} (default P-256)
  --days DAYS                how long it is valid (default 3650)
  --intermediate             make a root as well (root.crt, root.key), which signs the CA; pods trust the CA alone, and
                             root.key can be kept elsewhere
  --passphrase-file FILE     encrypt the private keys with the passphrase in this file

Options of show and check:
  --directory DIRECTORY      where ca.crt and ca.key are (default .)
  --certificate-file FILE    the CA's certificates, PEM
  --private-key-file FILE    its private key, PEM
  --passphrase-file FILE     the passphrase of the private key
  --cluster-domain DOMAIN    the names of pods that the CA must allow (default cluster.local)

Option of check:
  --trust per-cluster|shared the setting it is for (default per-cluster): only for shared need it not sign CAs

Options of status:
  -o, --output OUTPUT        text (default), or json: {"ok", "checks", "authorities", "clusters", "next"}; next.ready says
                             whether the next step of docs/ca-rotation.md may be done
  -n, --namespace NAME       only the Ray clusters of this namespace; what may be done next is said of all alone
  --rayguard-namespace NAME  where Rayguard is installed (default rayguard-system)
${clusterHelp.replaceAll(/^ {2}(\S+ \S+) +/gm, (_, flag: string) => `  ${flag.padEnd(27)}`)}

  -h, --help                 show this text

Exit codes: 0 done, or all checks passed; 1 a check failed, or a file is there already; 2 wrong options or files.
`

const subcommands = new Map<string, (rest: string[], io: CommandIo) => Promise<number>>([
  ['init', runInit],
  ['show', (rest, io) => show(readLocation(rest).location, io)],
  ['check', runCheck],
  ['status', runStatus]
])

export const command: Command = {
  name: 'ca',
  summary: 'make, show and check the certificate authority, and see its rotation through',
  help,
  async run([name, ...rest], io) {
    const run = subcommands.get(name ?? '')
    if (run === undefined) {
      const found = name === undefined ? 'nothing' : JSON.stringify(name)
      throw new UsageError(`init, show, check or status was expected; found ${found}.`)
    }
    return await run(rest, io)
  }
}

async function runInit(rest: string[], io: CommandIo): Promise<number> {
  const { values } = parseArgs({
    args: rest,
    options: {
      directory: { type: 'string' },
      name: { type: 'string', default: 'Rayguard CA' },
      algorithm: { type: 'string', default: 'P-256' },
      days: { type: 'string', default: '3650' },
      intermediate: { type: 'boolean', default: false },
      'passphrase-file': { type: 'string' }
    }
  })
  if (values.directory === undefined) throw new UsageError('--directory is required.')
  const algorithm = authorityAlgorithms.find(known => known === values.algorithm)
  if (algorithm === undefined) {
    throw new UsageError(
      `--algorithm must be one of ${authorityAlgorithms.join(', ')}; found ${JSON.stringify(values.algorithm)}.`
    )
  }
  return await init(
    {
      directory: values.directory,
      commonName: readCommonName(values.name),
      algorithm,
      days: readDays(values.days),
      intermediate: values.intermediate,
      passphraseFile: values['passphrase-file']
    },
    io
  )
}

async function runStatus(rest: string[], io: CommandIo): Promise<number> {
  const { values } = parseArgs({
    args: rest,
    options: {
      output: { type: 'string', short: 'o', default: 'text' },
      namespace: { type: 'string', short: 'n' },
      'rayguard-namespace': { type: 'string', default: 'rayguard-system' },
      ...clusterFlags
    }
  })
  const { output, namespace, 'rayguard-namespace': rayguardNamespace } = values
  if (output !== 'text' && output !== 'json') {
    throw new UsageError(`--output must be text or json, found ${JSON.stringify(output)}`)
  }
  return await caStatus({ ...values, output, namespace, rayguardNamespace, now: Date.now() }, io)
}

/** ub-common-name (RFC 5280 appendix A.1); control characters have no business in a name that is printed. */
function readCommonName(text: string): string {
  if (/^[^\p{Cc}]{1,64}$/u.test(text) && text.trim() === text) return text
  throw new UsageError(
    `--name must be 1 to 64 characters on one line; found ${JSON.stringify(text)}.`
  )
}

/** At most 100 years: later years do not fit what some TLS stacks read. */
function readDays(text: string): number {
  const days = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (days >= 1 && days <= 36_500) return days
  throw new UsageError(`--days must be 1 to 36500; found ${JSON.stringify(text)}.`)
}

async function runCheck(rest: string[], io: CommandIo): Promise<number> {
  const { location, others } = readLocation(rest, { trust: { type: 'string' } })
  const { trust = 'per-cluster' } = others
  if (trust !== 'per-cluster' && trust !== 'shared') {
    throw new UsageError(`--trust must be per-cluster or shared; found ${JSON.stringify(trust)}.`)
  }
  return await check(location, { signsCas: trust === 'per-cluster' }, io)
}

function readLocation(
  rest: string[],
  others: Record<string, { type: 'string' }> = {}
): { location: Location; others: Record<string, string | undefined> } {
  const { values } = parseArgs({
    args: rest,
    options: {
      ...others,
      directory: { type: 'string' },
      'certificate-file': { type: 'string' },
      'private-key-file': { type: 'string' },
      'passphrase-file': { type: 'string' },
      'cluster-domain': { type: 'string', default: 'cluster.local' }
    }
  })
  const named = values['certificate-file'] ?? values['private-key-file']
  if (values.directory !== undefined && named !== undefined) {
    throw new UsageError('Either --directory or the files are expected, not both.')
  }
  const directory = values.directory ?? '.'
  return {
    location: {
      certificateFile: values['certificate-file'] ?? `${directory}/ca.crt`,
      privateKeyFile: values['private-key-file'] ?? `${directory}/ca.key`,
      passphraseFile: values['passphrase-file'],
      clusterDomain: values['cluster-domain']
    },
    others: values
  }
}
