import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { addressesOfPods } from '../demo/addresses.ts'
import { createNarrator } from '../demo/narrator.ts'
import { play } from '../demo/play.ts'
import { createServingPair } from '../demo/serving-pair.ts'
import { keyIntoHsm, NoSoftHsmError, type OpenedAuthority } from '../demo/soft-hsm.ts'
import { setStage, type Trust } from '../demo/stage.ts'
import { type Command, exitCodes, UsageError } from './command.ts'

const help = `Usage: rayguard demo [--trust per-cluster|shared] [--authority pem|pkcs11]

Shows the whole way of a certificate on this machine, without a cluster: the real server and real agents as processes,
around them a stand-in for the Kubernetes API. A head and two workers are admitted, enroll, and talk to each other over
mutual TLS; then a pod of another cluster, a stolen token, a forged owner and a forged address are tried. Everything
listens on loopback and is gone afterwards.

Options:
  --trust per-cluster|shared   a CA for each RayCluster below the one outside (default), or that one for all of them
  --authority pem|pkcs11       where the key of the CA is: in a file (default), or in an HSM, which SoftHSM plays
  -h, --help                   show this text

Exit codes: 0 all went as told; 1 something did not.
`

const image = 'registry.example/rayguard:demo'

export const command: Command = {
  name: 'demo',
  summary: 'show the whole way of a certificate on this machine, without a cluster',
  help,
  async run(argumentsList, io) {
    const { trust, authority } = chosen(argumentsList)
    const narrator = createNarrator(text => io.stdout.write(text), coloured(io.environment))
    const directory = await mkdtemp(join(tmpdir(), 'rayguard-demo-'))
    try {
      const addresses = await addressesOfPods(5)
      narrator.heading('0. A CA outside the cluster, a stand-in for the Kubernetes API, the server')
      const program = process.argv[1] ?? ''
      const authorityDirectory = join(directory, 'authority')
      makeAuthority(program, authorityDirectory)
      const serving = await createServingPair(new Date())
      const signer = await (authority === 'pkcs11' ? keyIntoHsm : keyInFile)(
        directory,
        authorityDirectory,
        io.environment.PATH ?? ''
      )
      const stage = await setStage({ directory, program, serving, image, trust, ...signer })
      narrator.note(`webhook ${stage.webhookUrl}, enrollment ${stage.enrollmentUrl}`)
      narrator.note(`trust ${trust}, authority ${authority}`)
      if (signer.seals !== undefined && trust === 'perCluster')
        narrator.note(sealingNote(signer.seals))
      try {
        await play({
          stage,
          narrator,
          addresses: addresses as [string, string, string, string, string]
        })
      } finally {
        await stage.close()
      }
    } catch (error) {
      if (!(error instanceof NoSoftHsmError)) throw error
      io.stderr.write(`rayguard demo: ${error.message}\n`)
      return exitCodes.failed
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
    const { failures } = narrator
    narrator.heading(failures === 0 ? 'All went as told.' : `${failures} did not go as told.`)
    return failures === 0 ? exitCodes.ok : exitCodes.failed
  }
}

function chosen(argumentsList: string[]): { trust: Trust; authority: 'pem' | 'pkcs11' } {
  const { values } = parseArgs({
    args: argumentsList,
    options: { trust: { type: 'string' }, authority: { type: 'string' } }
  })
  const { trust = 'per-cluster', authority = 'pem' } = values
  if (trust !== 'per-cluster' && trust !== 'shared') {
    throw new UsageError(`--trust: expected per-cluster or shared, found ${JSON.stringify(trust)}.`)
  }
  if (authority !== 'pem' && authority !== 'pkcs11') {
    throw new UsageError(`--authority: expected pem or pkcs11, found ${JSON.stringify(authority)}.`)
  }
  return { trust: trust === 'shared' ? 'shared' : 'perCluster', authority }
}

async function keyInFile(_: string, directory: string): Promise<OpenedAuthority> {
  const authority = {
    kind: 'pem',
    certificateFile: join(directory, 'ca.crt'),
    privateKeyFile: join(directory, 'ca.key')
  }
  return { authority, environment: {} }
}

function sealingNote(seals: boolean): string {
  return seals
    ? 'the keys of the CAs of RayClusters are sealed by a key in the HSM'
    : 'the keys of the CAs of RayClusters are not sealed: pkcs11-tool (on Debian in opensc) would make a key for it'
}

function coloured(environment: Readonly<Record<string, string | undefined>>): boolean {
  return process.stdout.isTTY === true && !environment.NO_COLOR && environment.TERM !== 'dumb'
}

/** The way that users take, as a process of its own. */
function makeAuthority(program: string, directory: string): void {
  const { status, stderr } = spawnSync(
    process.execPath,
    [program, 'ca', 'init', '--directory', directory, '--name', 'Rayguard demonstration'],
    { encoding: 'utf8' }
  )
  if (status !== 0) throw new Error(`rayguard ca init failed: ${stderr}`)
}
