/** Installs Rayguard on a real node by the commands of the README. */
import { join } from 'node:path'
import type { Test } from 'tap'
import { kubectl, run } from './cluster-kubectl.ts'

export const image = process.env.RAYGUARD_TEST_IMAGE ?? 'localhost/rayguard:test'
const components = ['rayguard-webhook', 'rayguard-enrollment']

/** `folder`: where the CA of the pods is made. `change`: of what is applied. */
export async function install(
  t: Test,
  folder: string,
  change: (yaml: string) => string = yaml => yaml
): Promise<void> {
  const certificates = join(folder, 'certificates')
  const made = await run('node', ['dist/rayguard.js', 'ca', 'init', '--directory', certificates])
  t.equal(made.code, 0, `there is a CA: ${made.stderr}`)
  const prepared = await run('manifests/prepare', [image, certificates])
  t.equal(prepared.code, 0, `prepare prints the manifest: ${prepared.stderr}`)
  await kubectl(['apply', '-f', '-'], change(prepared.stdout))
  for (const name of components) {
    const rollout = ['rollout', 'status', `deployment/${name}`, '--timeout=120s']
    const status = await kubectl(['-n', 'rayguard-system', ...rollout])
    t.match(status, 'successfully rolled out', `${name} is ready, under restricted itself`)
  }
}

/**
 * A pod asks for as much as its largest init container, and while a Deployment is renewed there are three replicas of it:
 * on two processors there would be room for nothing else.
 */
export function forSmallNode(yaml: string): string {
  const small = yaml
    .replace(/^ {4}injection: \{\}$/m, '    injection: { resources: { cpu: 100m } }')
    .replaceAll('cpu: 100m\n', 'cpu: 20m\n')
  if (small === yaml) throw new Error('the manifest has changed, and this does not fit it any more')
  return small
}

/** Other settings than those of the manifest. */
export function withSettings(
  yaml: string,
  { trust, lifetime }: { trust: 'perCluster' | 'shared'; lifetime?: string }
): string {
  const ofTrust = yaml.replace(/^ {4}trust: perCluster$/m, `    trust: ${trust}`)
  const changed =
    lifetime === undefined
      ? ofTrust
      : ofTrust.replace(/^ {4}enrollment:\n/m, `$&      lifetime: ${lifetime}\n`)
  const fits = changed.includes(`\n    trust: ${trust}\n`)
  if (!fits || (lifetime !== undefined && changed === ofTrust))
    throw new Error('the manifest has changed, and this does not fit it any more')
  return changed
}

/** Back to a cluster without Rayguard. */
export async function remove(): Promise<void> {
  const options = ['--ignore-not-found', '--wait=true', '--timeout=120s']
  await kubectl(['delete', '-f', 'manifests/rayguard.yaml', ...options])
}
