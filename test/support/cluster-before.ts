/** The version before this one and this one over each other, by the commands of docs/upgrade.md. */
import { join } from 'node:path'
import { forSmallNode, withSettings } from './cluster-install.ts'
import { kubectl, run } from './cluster-kubectl.ts'
import { replacedHaveGone, rolledOut, systemNamespace } from './cluster-replicas.ts'

export const before = {
  /** Its files; absent where the history is. */
  folder: process.env.RAYGUARD_TEST_BEFORE,
  image: 'localhost/rayguard:before'
}
export const now = { folder: '.', image: 'localhost/rayguard:test' }

/** `certificates`: the folder that the version before keeps its CAs in. `after`: what it comes back from. */
export async function installBefore(certificates: string, after?: typeof now): Promise<void> {
  const manifest = await prepared(before, certificates)
  const former = after === undefined ? [] : [after.image]
  await apply(
    manifest.replace(
      /^ {4}injection:$/m,
      `    injection:\n      formerImages: [${former}]\n      resources: { cpu: 100m }`
    )
  )
}

export async function upgrade(certificates: string): Promise<void> {
  // the CA by which running pods know the enrollment server goes on
  await kubectl([
    ...['-n', systemNamespace, 'create', 'secret', 'generic', 'rayguard-enrollment-serving'],
    ...['crt', 'key'].map(
      type => `--from-file=ca.${type}=${join(certificates, 'serving-ca')}.${type}`
    )
  ])
  // the CA of the version before leaves no room for one of each cluster below it
  const manifest = withSettings(forSmallNode(await prepared(now, certificates)), {
    trust: 'shared'
  })
  await apply(
    manifest
      .replace('injection: {', `injection: { formerImages: [${before.image}],`)
      .replace(`['${now.image}']`, `['${now.image}', '${before.image}']`)
  )
}

export async function rollBack(certificates: string): Promise<void> {
  // a webhook of this version would write its own CA into the registration once more
  const webhooks = ['-n', systemNamespace, 'scale', 'deployment/rayguard-webhook', '--replicas=0']
  await kubectl(webhooks)
  const selector = 'app.kubernetes.io/component=webhook'
  await kubectl(['-n', systemNamespace, 'wait', '--for=delete', 'pod', '-l', selector])
  await installBefore(certificates, now)
}

async function prepared(
  version: { folder: string | undefined; image: string },
  certificates: string
): Promise<string> {
  const program = join(version.folder ?? '', 'manifests/prepare')
  const { code, stdout, stderr } = await run(program, [version.image, certificates])
  if (code !== 0) throw new Error(`prepare: ${stderr}`)
  return stdout
}

async function apply(manifest: string): Promise<void> {
  await kubectl(['apply', '-f', '-'], manifest)
  await rolledOut('webhook', 'enrollment')
  // the two versions' webhooks have certificates of different CAs, and the API server trusts one of them
  await replacedHaveGone()
}
