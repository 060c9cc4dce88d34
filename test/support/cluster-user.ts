/** Somebody who is no administrator: a service account, with a kubeconfig as people have it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { type ClusterApi, makeToken } from './cluster.ts'

/** Its file, in `folder`. */
export async function kubeconfigOf(
  api: ClusterApi,
  folder: string,
  namespace: string,
  user: string
): Promise<string> {
  const file = join(folder, `${user}.kubeconfig`)
  const cluster = {
    server: api.server,
    'certificate-authority-data': Buffer.from(api.ca).toString('base64')
  }
  const content = {
    ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'test' },
    clusters: [{ name: 'test', cluster }],
    users: [{ name: user, user: { token: await makeToken(api, namespace, user) } }],
    contexts: [{ name: 'test', context: { cluster: 'test', user } }]
  }
  writeFileSync(file, stringify(content), { mode: 0o600 })
  return file
}
