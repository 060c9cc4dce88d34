/** What people do: kubectl against the cluster of KUBECONFIG. */
import { spawn } from 'node:child_process'

export interface Finished {
  code: number
  stdout: string
  stderr: string
}

/** Rejects when it fails; `input` goes to its standard input. */
export async function kubectl(argumentsList: string[], input?: string): Promise<string> {
  const finished = await run('kubectl', argumentsList, input)
  if (finished.code !== 0)
    throw new Error(`kubectl ${argumentsList.join(' ')}: ${finished.stderr || finished.stdout}`)
  return finished.stdout
}

/** In the first container of the pod; never rejects for what the command does. */
export function execute(namespace: string, pod: string, ...command: string[]): Promise<Finished> {
  return run('kubectl', ['exec', '--namespace', namespace, pod, '--', ...command])
}

export function run(program: string, argumentsList: string[], input?: string): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, argumentsList, { stdio: ['pipe', 'pipe', 'pipe'] })
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []]
    child.stdout.on('data', chunk => stdout.push(chunk))
    child.stderr.on('data', chunk => stderr.push(chunk))
    child.once('error', reject)
    child.once('close', code =>
      resolve({
        code: code ?? 1,
        stdout: Buffer.concat(stdout).toString(),
        stderr: Buffer.concat(stderr).toString()
      })
    )
    child.stdin.end(input)
  })
}
