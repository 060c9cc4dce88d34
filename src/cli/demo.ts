import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addressesOfPods } from '../demo/addresses.ts'
import { createNarrator } from '../demo/narrator.ts'
import { play } from '../demo/play.ts'
import { createServingPair } from '../demo/serving-pair.ts'
import { setStage } from '../demo/stage.ts'
import { type Command, exitCodes, UsageError } from './command.ts'

const help = `Usage: rayguard demo

Shows the whole way of a certificate on this machine, without a cluster: the real server and real agents as processes,
around them a stand-in for the Kubernetes API. A head and two workers are admitted, enroll, and talk to each other over
mutual TLS; then a stolen token, a forged owner and a forged address are tried. Everything listens on loopback and is
gone afterwards.

Options:
  -h, --help   show this text

Exit codes: 0 all went as told; 1 something did not.
`

const image = 'registry.example/rayguard:demo'

export const command: Command = {
  name: 'demo',
  summary: 'show the whole way of a certificate on this machine, without a cluster',
  help,
  async run(argumentsList, io) {
    if (argumentsList.length > 0) {
      throw new UsageError(`demo takes no arguments; found ${JSON.stringify(argumentsList[0])}.`)
    }
    const narrator = createNarrator(text => io.stdout.write(text), coloured(io.environment))
    const directory = await mkdtemp(join(tmpdir(), 'rayguard-demo-'))
    try {
      const addresses = await addressesOfPods(4)
      narrator.heading('0. A CA outside the cluster, a stand-in for the Kubernetes API, the server')
      const program = process.argv[1] ?? ''
      const authorityDirectory = join(directory, 'authority')
      makeAuthority(program, authorityDirectory)
      const serving = await createServingPair(new Date())
      const stage = await setStage({ directory, program, serving, authorityDirectory, image })
      narrator.note(`webhook ${stage.webhookUrl}, enrollment ${stage.enrollmentUrl}`)
      try {
        await play({ stage, narrator, addresses: addresses as [string, string, string, string] })
      } finally {
        await stage.close()
      }
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
    const { failures } = narrator
    narrator.heading(failures === 0 ? 'All went as told.' : `${failures} did not go as told.`)
    return failures === 0 ? exitCodes.ok : exitCodes.failed
  }
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
