/** Rayguard with an authority outside, from the commands of its page to a Ray cluster that its CA has signed. */
import { X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually, skip } from './cluster.ts'
import { checkCertificate, checkInjected } from './cluster-checks.ts'
import { remove } from './cluster-install.ts'
import { execute, kubectl, run } from './cluster-kubectl.ts'
import type { Reader } from './cluster-page.ts'
import { readyRayPods } from './cluster-ray.ts'
import { nameOf, systemNamespace } from './cluster-replicas.ts'
import { foundProgram } from './found-program.ts'

/** That of docs/install.md. */
const tryNamespace = 'ray-try'
const helm = foundProgram('helm')

/** Why a page cannot be followed here. */
export function lackingFor(...programs: string[]): string | false {
  if (process.env.USE_EXISTING_CLUSTER === 'true')
    return 'what is asked for certificates runs on this machine, for its own node'
  const missing = ['helm', ...programs].filter(name => foundProgram(name) === undefined)
  return skip || (missing.length > 0 && `${missing.join(', ')}: not installed`)
}

/** Of the pages: where the images are, and as little of the two processors as it takes. */
export function changesOf(reader: Reader): Record<string, string> {
  const resources = { resources: { requests: { cpu: '20m' } } }
  const values = join(reader.folder, 'small-node.json')
  const settings = { injection: { resources: { cpu: '100m' } } }
  writeFileSync(values, JSON.stringify({ webhook: resources, enrollment: resources, settings }))
  return {
    'REGISTRY/': 'localhost/',
    '0.1.0': 'test',
    'manifests/chart --': `manifests/chart --values ${values} --`
  }
}

/** Makes the RayCluster of docs/install.md; the CA outside is in `ca.crt` of the reader's folder. */
export async function checkFirstCluster(
  t: Test,
  api: ClusterApi,
  reader: Reader,
  trust: 'perCluster' | 'shared'
): Promise<void> {
  await reader.follow({ page: 'install.md', heading: 'A first RayCluster' })
  const ca = readFileSync(join(reader.folder, 'ca.crt'), 'utf8')
  const pods = await readyRayPods(api, tryNamespace, 2)

  await t.test('its pods have certificates of that CA, as openssl sees it', async t => {
    for (const pod of pods) {
      checkInjected(t, pod)
      const isHead = pod.metadata.labels?.['ray.io/node-type'] === 'head'
      checkCertificate(t, {
        run: await filesOf(pod, join(reader.folder, nameOf(pod))),
        ...(trust === 'perCluster' ? { pod } : {}),
        ca,
        ip: pod.status?.podIP ?? '',
        dnsNames: isHead ? [`demo-head-svc.${tryNamespace}.svc.cluster.local`] : []
      })
    }
  })

  await t.test('rayguard ca status and rayguard status say so', async t => {
    const told = await rayguard('ca', 'status', '-o', 'json')
    const anchorSha256 = new X509Certificate(ca).fingerprint256.replaceAll(':', '').toLowerCase()
    t.match(told, {
      authorities: [{ role: 'signing', subject: 'CN=Ray pods', anchorSha256 }],
      clusters: [{ name: 'demo', namespace: tryNamespace, trust, strangers: [] }],
      next: { step: 'none', ready: true }
    })
    const { checks } = (await rayguard('status', '-o', 'json')) as { checks: { state: string }[] }
    const failed = checks.filter(({ state }) => state === 'failed')
    t.strictSame(failed, [], 'no check fails')
  })
}

/** Back to a cluster without Rayguard, as docs/upgrade.md has it; also what a former run left. */
export async function removeInstallation(api: ClusterApi): Promise<void> {
  await removeNamespace(api, tryNamespace)
  const release = ['uninstall', 'rayguard', '--namespace', systemNamespace, '--ignore-not-found']
  const { code, stderr } = await run(helm ?? '', [...release, '--wait', '--timeout', '120s'])
  if (code !== 0) throw new Error(stderr)
  await remove()
  await removeNamespace(api, systemNamespace)
}

/** What the command prints as JSON; it has to find nothing wrong. */
export async function rayguard(...argumentsList: string[]): Promise<object> {
  const { code, stdout, stderr } = await run('node', ['dist/rayguard.js', ...argumentsList])
  if (code !== 0) throw new Error(`rayguard ${argumentsList.join(' ')}: ${stdout}${stderr}`)
  return JSON.parse(stdout)
}

async function filesOf(pod: Pod, directory: string) {
  if (!existsSync(directory)) mkdirSync(directory)
  for (const name of ['tls.crt', 'tls.key', 'ca.crt']) {
    const file = `/etc/rayguard/tls/${name}`
    const { stdout } = await execute(tryNamespace, nameOf(pod), 'cat', file)
    writeFileSync(join(directory, name), stdout, { mode: 0o600 })
  }
  const [agent] = pod.status?.initContainerStatuses ?? []
  return { directory, terminationMessage: agent?.state?.terminated?.message ?? '' }
}

async function removeNamespace(api: ClusterApi, name: string): Promise<void> {
  await kubectl(['delete', 'namespace', name, '--ignore-not-found', '--wait=false'])
  await eventually(`${name} is gone`, async () => {
    return (await api.find(`/api/v1/namespaces/${name}`)) === undefined
  })
}
