/** What a pod waits for its certificate: the agent as a process, against a Node that does nothing. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { keyFile, tokenFile } from '../src/contract/pod.ts'
import { podAddress } from './burst-pods.ts'
import { compare, type Report } from './harness.ts'
import { clusterWithHead, runningWorker } from './pods.ts'
import { injectionSettings } from './settings.ts'
import { openStage, program, type Server, type Stage } from './stage.ts'
import { emptyNodeMs } from './start.ts'

export async function run(report: Report): Promise<void> {
  const stage = await openStage()
  try {
    const server = await stage.serve(['enrollment'])
    await stage.put(clusterWithHead(podAddress(0), settingsOf(stage, server)))
    // Until the watches of the server have seen it.
    await sleep(200)
    let pods = 0
    report(
      await compare({
        name: 'agent, start to files written (node -e 0)',
        unit: 'ms',
        rounds: 15,
        async subject() {
          pods += 1
          return enrollMs(stage, server, pods)
        },
        baseline: emptyNodeMs,
        target: { of: 'ratio', atMost: 2 }
      })
    )
  } finally {
    await stage.close()
  }
}

async function enrollMs(stage: Stage, server: Server, number: number): Promise<number> {
  const name = `demo-small-worker-${number}`
  const address = podAddress(number)
  const pod = runningWorker(name, address, settingsOf(stage, server))
  const [token = ''] = await stage.put([pod])
  const directory = join(stage.directory, name)
  await mkdir(join(directory, 'tls'), { recursive: true })
  await writeFile(join(directory, tokenFile), token)

  const start = performance.now()
  const child = spawn(
    process.execPath,
    [
      ...[program, 'enroll', '--directory', join(directory, 'tls'), '--source-address', address],
      ...['--token-file', join(directory, tokenFile)],
      ...['--termination-log', join(directory, 'termination-log'), '--exit-delay', '0']
    ],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        RAYGUARD_SERVER_URL: server.enrollmentUrl,
        RAYGUARD_SERVER_CA: stage.servingCa.certificate,
        RAYGUARD_POD_IPS: address,
        RAYGUARD_POD_NAME: name
      }
    }
  )
  const journal: Buffer[] = []
  child.stderr.on('data', chunk => journal.push(chunk))
  await once(child, 'exit')
  const elapsed = performance.now() - start
  if (!(await readdir(join(directory, 'tls'))).includes(keyFile)) {
    throw new Error(`The agent has written no key.\n${Buffer.concat(journal)}${server.log()}`)
  }
  return elapsed
}

function settingsOf({ servingCa }: Stage, { enrollmentUrl }: Server) {
  return injectionSettings({ url: enrollmentUrl, ca: servingCa.certificate })
}
