/** docs/client-certificates.md with real Ray: who gets in from outside the pods, and for what. */
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { apply, type ClusterApi, eventually } from '../support/cluster.ts'
import { changesOf, lackingFor, removeInstallation } from '../support/cluster-authority.ts'
import { writeDocker } from '../support/cluster-docker.ts'
import { makeIdleCluster, makeIdleHead } from '../support/cluster-idle.ts'
import { image } from '../support/cluster-install.ts'
import { type Finished, run } from '../support/cluster-kubectl.ts'
import { openReader, type Reader } from '../support/cluster-page.ts'
import { part } from '../support/cluster-part.ts'
import { rayVersion } from '../support/cluster-ray.ts'
import { isReady, rolledOut } from '../support/cluster-replicas.ts'
import { kubeconfigOf } from '../support/cluster-user.ts'

const page = 'client-certificates.md'
/** That of docs/install.md. */
const namespace = 'ray-try'
const head = `demo-head-svc.${namespace}.svc.cluster.local`
const limitMs = 300_000
/** Its containers can be reached without a pod; those of somebody else’s not. */
const ownCluster = process.env.USE_EXISTING_CLUSTER !== 'true'
const binding = '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/ray-clients'

part(
  'client',
  async (t, { api, namespace: makeNamespace }) => {
    await removeInstallation(api)
    await api.delete(binding)
    const people = await makeNamespace('client-people')
    await api.create(`/api/v1/namespaces/${people}/serviceaccounts`, {
      metadata: { name: 'alice' }
    })
    const administrator = openReader(t)
    await installed(api, administrator, people)

    await t.test('a user who is no administrator, outside the pods', async t => {
      const programs = join(t.testdir({}), 'programs')
      const reader = openReader(t, programs, join(t.testdirName, 'alice.kubeconfig'))
      const kubeconfig = await kubeconfigOf(api, reader.folder, people, 'alice')
      await placesWithRay(api, people, reader.folder, programs)

      await eventually('a head that has just begun answers drivers', answersDrivers, limitMs)
      const seen = await getOne(reader)
      t.match(seen, /'CPU': 2\.0/, 'gets in by the commands of the page')
      const verified = await reader.follow({ page, heading: 'What is refused' })
      t.match(verified, /Verified/, 'and rayguard verify says so')

      if (ownCluster) {
        // of its own, for its folder
        await t.test('without a clone', t => byTheImage(t, programs, kubeconfig))
      }

      const mine = join(reader.folder, `rayguard-client-${namespace}-demo`)
      const others = join(reader.folder, 'others')
      const asked = await run('node', [
        ...['dist/rayguard.js', 'client-cert', '--kubeconfig', kubeconfig],
        ...['-n', namespace, 'idle', '--directory', others]
      ])
      t.equal(asked.code, 0, asked.stderr)

      t.match(
        await handshakes(administrator, mine),
        /Verified[\s\S]*Verify return code: 0/,
        'both ways'
      )

      const inNotebook = (command: string): Promise<Finished> =>
        run('kubectl', ['exec', '-n', people, 'notebook', '--', 'bash', '-c', command])
      const drive = (setup: string) => inNotebook(`${setup}\n${task}`)
      // As a person does: again, where the head could not begin what serves one driver within Ray's own 30 s.
      const own = await eventually(
        'a driver comes through',
        async () => {
          const tried = await drive(`. ${mine}/env.sh`)
          return tried.code === 0 && tried
        },
        limitMs
      )
      const [without, foreign, trusting, joining] = await Promise.all([
        drive(''),
        drive(`. ${others}/env.sh`),
        drive(`. ${others}/env.sh; export RAY_TLS_CA_CERT=${mine}/ca.crt`),
        inNotebook(
          `. ${mine}/env.sh; exec timeout 120 ray start --address=${head}:6379 --num-cpus=1 --object-store-memory=100000000 --block`
        )
      ])
      t.match(own, { code: 0, stdout: /ran on demo-/ }, 'a task runs in the RayCluster')
      const refused = { code: 1, stderr: /ConnectionError/ }
      t.match(without, refused, 'attack: without a certificate')
      t.match(
        foreign,
        refused,
        'attack: with one of another RayCluster, which does not trust the head'
      )
      t.match(trusting, refused, 'attack: and when it does, the head does not trust it')

      t.match(joining, { code: 1 }, 'attack: a worker of one’s own ends')
      // A node machine with much to do may keep a driver waiting too long.
      const seesNodes = async () => {
        const { stdout } = await inNotebook(`. ${mine}/env.sh\n${nodes}`)
        const line = stdout.split('\n').find(each => each.startsWith('['))
        return line !== undefined && (JSON.parse(line) as [boolean, string][])
      }
      const found = await eventually('a driver sees the nodes', seesNodes, limitMs)
      t.match(
        found.sort(),
        [
          [false, 'notebook'],
          [true, /^demo-/],
          [true, /^demo-/]
        ],
        'is told of, and given up, for nobody can meet it'
      )
    })
    await removeInstallation(api)
    await api.delete(binding)
  },
  lackingFor()
)

const python = (...lines: string[]) => `exec timeout 120 python3 - <<'PY'\n${lines.join('\n')}\nPY`
const connect = `ray.init("ray://${head}:10001", logging_level="ERROR")`
const task = python(
  'import ray, socket',
  connect,
  'print("ran on", ray.get(ray.remote(lambda: socket.gethostname()).remote()))'
)
const nodes = python(
  'import json, ray',
  connect,
  'print(json.dumps([[node["Alive"], node["NodeManagerHostname"]] for node in ray.nodes()]))'
)

/** From within the pod of the head, with its own certificate. */
async function answersDrivers(): Promise<boolean> {
  const service = ['-n', namespace, 'service/demo-head-svc', '-c', 'ray-head']
  return (await run('kubectl', ['exec', ...service, '--', 'bash', '-c', task])).code === 0
}

/** As the page says, again where the head could not begin what serves one driver within Ray's own 30 s. */
async function getOne(reader: Reader): Promise<string> {
  const section = { page, heading: 'Get one' }
  const command = `client-cert -n ${namespace} demo`
  const again = { ...section, changes: { [command]: `${command} --force` } }
  let next: Parameters<Reader['follow']>[0] = section
  return await eventually(
    'a driver comes through by the commands of the page',
    async () => {
      try {
        return await reader.follow(next)
      } catch (error) {
        if (!/Starting Ray client server failed/.test(String(error))) throw error
        next = again
        return false
      }
    },
    limitMs
  )
}

/** By the commands of the page, with the certificate in this folder and with that of a worker. */
async function handshakes(reader: Reader, directory: string): Promise<string> {
  const named = ['-n', namespace, 'get', 'pods', '-l', 'ray.io/node-type=worker', '-o', 'name']
  const worker = (await run('kubectl', named)).stdout.trim()
  const changes = {
    'rayguard-client-NAMESPACE-NAME': directory,
    NAMESPACE: namespace,
    NAME: 'demo',
    POD: worker
  }
  return await reader.follow({
    page: 'troubleshooting.md',
    heading: 'What a handshake says',
    changes
  })
}

/** By the commands of the pages; beside the RayCluster that runs there is one that has a CA alone. */
async function installed(api: ClusterApi, reader: Reader, people: string): Promise<void> {
  const install = 'install.md'
  await reader.follow({ page: install, heading: 'The CA that signs Ray pods' })
  await reader.follow({ page: install, heading: 'Helm', changes: changesOf(reader) })
  await rolledOut('webhook', 'enrollment')
  const running = reader.follow({ page: install, heading: 'A first RayCluster' })
  await eventually('its namespace is there', () => api.find(`/api/v1/namespaces/${namespace}`))
  const group = `system:serviceaccounts:${people}`
  await reader.follow({ page, heading: 'Turn it on', changes: { 'data-science': group } })
  await running
  await makeIdleHead(api, await makeIdleCluster(api, namespace))
}

/**
 * Two machines with Ray: a notebook in the cluster, and a laptop, that is, this machine's network with Ray's Python, which
 * the page calls `python`. Both see the files of the user.
 */
async function placesWithRay(api: ClusterApi, people: string, folder: string, programs: string) {
  const place = (name: string, network: object): KubernetesObject & { spec: object } => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      ...network,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      volumes: [{ name: 'files', hostPath: { path: folder } }],
      containers: [
        {
          name,
          image: `rayproject/ray:${rayVersion}`,
          command: ['sleep', 'infinity'],
          securityContext: { runAsUser: 0 },
          volumeMounts: [{ name: 'files', mountPath: folder, readOnly: true }],
          resources: { requests: { cpu: '1m', memory: '64Mi' }, limits: { memory: '3Gi' } }
        }
      ]
    }
  })
  await apply(api, people, [place('notebook', {}), place('laptop', { hostNetwork: true })])
  mkdirSync(programs)
  const variables = ['USE_TLS', 'TLS_SERVER_CERT', 'TLS_SERVER_KEY', 'TLS_CA_CERT']
    .map(name => `"RAY_${name}=$RAY_${name}"`)
    .join(' ')
  const program = join(programs, 'python')
  const administrator = process.env.KUBECONFIG
  writeFileSync(
    program,
    `#!/bin/bash\nexec kubectl --kubeconfig ${administrator} exec -n ${people} laptop -- env ${variables} python3 "$@"\n`
  )
  chmodSync(program, 0o755)
  await eventually('both run', async () => {
    const pods = await api.list<Pod>(`/api/v1/namespaces/${people}/pods`)
    return pods.length === 2 && pods.every(isReady)
  })
}

/** Where there is neither a clone nor Node.js, in a folder of its own. */
async function byTheImage(t: Test, programs: string, kubeconfig: string): Promise<void> {
  writeDocker(programs)
  const reader = openReader(t, programs, kubeconfig)
  const changes = { 'REGISTRY/rayguard:0.1.0': image }
  await reader.follow({ page, heading: 'Without a clone', changes })
  const files = join(reader.folder, `rayguard-client-${namespace}-demo`)
  const judged = await run('openssl', [
    ...['verify', '-partial_chain', '-purpose', 'sslclient', '-CAfile', join(files, 'ca.crt')],
    join(files, 'tls.crt')
  ])
  t.match(judged, { code: 0 }, 'by the image, without a clone')
  t.notOk(existsSync(join(reader.folder, 'kubeconfig')), 'nothing else is left')
}
