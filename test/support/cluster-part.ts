/** One part of the suite on a real node; when it fails, it shows what the cluster looked like. */
import t, { type Test } from 'tap'
import { type ClusterApi, connect, eventually, makeNamespace, skip } from './cluster.ts'
import { run } from './cluster-kubectl.ts'

export interface Part {
  api: ClusterApi
  /** Empty, whatever an earlier run left there; shown when the part fails, and gone after it. */
  namespace(name: string, labels?: Record<string, string>): Promise<string>
}

const shownLines = 60

/** Runs `body` as one test; a failed assertion or an exception ends with a report of Rayguard and the watched namespaces. */
export function part(
  name: string,
  body: (t: Test, part: Part) => Promise<void>,
  lacking: string | false = false
): void {
  void t.test(name, { skip: skip || lacking }, async t => {
    const api = await connect()
    const namespaces = ['rayguard-system']
    const began = Date.now()
    try {
      await body(t, {
        api,
        async namespace(name, labels) {
          await remove(api, name)
          namespaces.push(name)
          return makeNamespace(api, name, labels)
        }
      })
      if (!t.passing()) await report(t, namespaces)
    } catch (error) {
      t.comment(`${name} failed: ${error instanceof Error ? error.message : String(error)}`)
      await report(t, namespaces)
      throw error
    } finally {
      for (const namespace of namespaces.slice(1)) await remove(api, namespace)
      api.close()
      t.comment(`${name}: ${((Date.now() - began) / 1000).toFixed(0)} s`)
    }
  })
}

async function remove(api: ClusterApi, namespace: string): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}`
  await api.delete(path)
  await eventually(
    `the namespace ${namespace} is gone`,
    async () => (await api.find(path)) === undefined
  )
}

async function report(t: Test, namespaces: readonly string[]): Promise<void> {
  for (const namespace of namespaces) {
    await show(t, ['-n', namespace, 'get', 'pods', '-o', 'wide'])
    await show(t, ['-n', namespace, 'get', 'events', '--sort-by=.lastTimestamp'])
    await show(t, ['-n', namespace, 'describe', 'pods'], shownLines * 4)
  }
  await show(t, ['get', 'pods', '--all-namespaces', '-o', 'wide'])
  await show(t, ['describe', 'nodes'])
  for (const component of ['webhook', 'enrollment']) {
    const selector = `app.kubernetes.io/component=${component}`
    const options = ['--prefix', '--tail=40', '--ignore-errors']
    await show(t, ['-n', 'rayguard-system', 'logs', '-l', selector, ...options])
    await show(t, ['-n', 'rayguard-system', 'logs', '-l', selector, ...options, '--previous'])
  }
  await show(t, ['get', 'mutatingwebhookconfigurations,validatingwebhookconfigurations'])
}

async function show(t: Test, command: string[], lines = shownLines): Promise<void> {
  const { stdout, stderr } = await run('kubectl', command)
  t.comment(`kubectl ${command.join(' ')}`)
  for (const line of (stdout + stderr).trimEnd().split('\n').slice(-lines)) {
    t.comment(`  ${withoutSecrets(line)}`)
  }
}

/** A token is three parts of base64; keys and certificates are long runs of it. */
function withoutSecrets(line: string): string {
  return line
    .replaceAll(/\beyJ[\w-]+\.[\w-]+\.[\w-]+/g, '(a token)')
    .replaceAll(/[A-Za-z0-9+/]{60,}={0,2}/g, '(data)')
}
