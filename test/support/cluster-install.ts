/** Installs Rayguard on a real node by the commands of the README. */
import { join } from 'node:path'
import type { Test } from 'tap'
import { kubectl, run } from './cluster-kubectl.ts'

const image = process.env.RAYGUARD_TEST_IMAGE ?? 'localhost/rayguard:test'
const components = ['rayguard-webhook', 'rayguard-enrollment']

/** `folder`: where the CA of the pods is made. */
export async function install(t: Test, folder: string): Promise<void> {
  const certificates = join(folder, 'certificates')
  const made = await run('node', ['dist/rayguard.js', 'ca', 'init', '--directory', certificates])
  t.equal(made.code, 0, `there is a CA: ${made.stderr}`)
  const prepared = await run('manifests/prepare', [image, certificates])
  t.equal(prepared.code, 0, `prepare prints the manifest: ${prepared.stderr}`)
  await kubectl(['apply', '-f', '-'], prepared.stdout)
  for (const name of components) {
    const rollout = ['rollout', 'status', `deployment/${name}`, '--timeout=120s']
    const status = await kubectl(['-n', 'rayguard-system', ...rollout])
    t.match(status, 'successfully rolled out', `${name} is ready, under restricted itself`)
  }
}

/** Back to a cluster without Rayguard. */
export async function remove(): Promise<void> {
  await kubectl(['delete', '-f', 'manifests/rayguard.yaml', '--wait=true', '--timeout=120s'])
}
