/** Installed by the documented commands on a real node, with real Ray: what a team would see. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { apply, eventually } from '../support/cluster.ts'
import { makeCa, makePair } from '../support/cluster-certificates.ts'
import { checkInjected, namesOf } from '../support/cluster-checks.ts'
import { install, remove } from '../support/cluster-install.ts'
import { execute, kubectl, run } from '../support/cluster-kubectl.ts'
import { part } from '../support/cluster-part.ts'
import { type PodTimes, rayCluster, runJob, timePods } from '../support/cluster-ray.ts'

const tls = '/etc/rayguard/tls'
const readyLimitMs = 300_000

part('node', async (t, { api, namespace: makeNamespace }) => {
  const folder = t.testdir()
  const podsOf = (namespace: string) => api.list<Pod>(`/api/v1/namespaces/${namespace}/pods`)
  const isHead = ({ metadata }: Pod) => metadata.labels?.['ray.io/node-type'] === 'head'
  const nameOf = (pod: Pod | undefined) => pod?.metadata.name ?? ''

  /** All three pods are ready; none of them is one of `gone`. */
  const readyPods = (namespace: string, gone: string[] = []) =>
    eventually(
      `three ready pods in ${namespace}`,
      async () => {
        const pods = await podsOf(namespace)
        const ready = pods.filter(
          pod =>
            pod.metadata.deletionTimestamp === undefined &&
            !gone.includes(nameOf(pod)) &&
            (pod.status as { conditions?: { type: string; status: string }[] }).conditions?.some(
              ({ type, status }) => type === 'Ready' && status === 'True'
            )
        )
        return ready.length === 3 && ready
      },
      readyLimitMs
    )
  const run3 = async (namespace: string) => {
    const watch = timePods(api, namespace)
    const began = Date.now()
    await apply(api, namespace, [rayCluster('demo')])
    const pods = await readyPods(namespace)
    const seconds = (Date.now() - began) / 1000
    await watch.stop()
    return { pods, seconds, times: watch.times }
  }

  await remove()
  await t.test('it is installed by the commands of the README', async t => install(t, folder))

  await makeNamespace('without', { 'rayguard.dev/paused': 'yes' })
  const measureWithout = async () => {
    const measured = await run3('without')
    await api.delete('/apis/ray.io/v1/namespaces/without/rayclusters/demo')
    await eventually('the room is free again', async () => (await podsOf('without')).length === 0)
    return measured
  }
  // the first run reads Ray from the disk; the second one can be compared
  await measureWithout()
  const without = await measureWithout()

  const namespace = await makeNamespace('team', {
    'pod-security.kubernetes.io/enforce': 'restricted'
  })
  const { pods, seconds, times } = await run3(namespace)
  const head = pods.find(isHead)
  const workers = pods.filter(pod => !isHead(pod))
  const fqdn = `demo-head-svc.${namespace}.svc.cluster.local`

  await t.test('an unchanged RayCluster is ready under restricted, with TLS', async t => {
    for (const pod of pods) checkInjected(t, pod)
    const written = await Promise.all(pods.map(pod => certificateWrittenMs(namespace, nameOf(pod))))
    pods.forEach((pod, index) => {
      const afterAddress = (written[index] ?? 0) - (times.get(nameOf(pod))?.addressMs ?? 0)
      t.comment(`${nameOf(pod)}: certificate ${afterAddress} ms after its address was seen`)
    })
    t.comment(
      `ready after ${seconds.toFixed(1)} s; without Rayguard ${without.seconds.toFixed(1)} s`
    )
    for (const [title, measured] of [
      ['with', times],
      ['without', without.times]
    ] as const)
      t.comment(`address to ready, ${title} Rayguard: ${describeTimes(measured)}`)
  })

  await t.test('a job runs over all three pods', async t => {
    const job = await runJob(namespace, nameOf(head))
    t.match(job.output, /hosts: 3/, `three hosts took part: ${job.output.slice(-500)}`)
  })

  await t.test('the key is in memory alone, and the agent had no API token', async t => {
    for (const pod of pods) {
      const mount = await execute(namespace, nameOf(pod), 'stat', '-f', '-c', '%T', tls)
      t.equal(mount.stdout.trim(), 'tmpfs', 'the files are in memory')
      const mode = await execute(namespace, nameOf(pod), 'stat', '-c', '%a', `${tls}/tls.key`)
      t.match(mode.stdout.trim(), /^4[04]0$/, 'the key is closed to others')
      const write = await execute(namespace, nameOf(pod), 'touch', `${tls}/tls.key`)
      t.not(write.code, 0, 'and Ray cannot replace it')
      const stored = (await podsOf(namespace)).find(each => nameOf(each) === nameOf(pod))
      const [agent] = stored?.status?.initContainerStatuses ?? []
      t.match(
        JSON.parse(agent?.state?.terminated?.message ?? '{}'),
        { serialNumber: /^[0-9a-f]+$/, anchorSha256: /^[0-9a-f]{64}$/ },
        'the status of the pod says which certificate it holds'
      )
    }
  })

  await t.test('from inside, only the full name over this CA is accepted', async t => {
    const worker = nameOf(workers[0])
    const check = (address: string, variables: string[] = []) =>
      execute(
        ...([namespace, worker, 'env', ...variables] as const),
        ...['timeout', '100', 'ray', 'health-check', '--address', `${address}:6379`]
      )
    const own = await check(fqdn)
    t.equal(own.code, 0, `the full name is accepted: ${own.stderr.slice(-300)}`)

    await execute(
      ...([namespace, worker, 'sh', '-c'] as const),
      'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj / ' +
        `-addext subjectAltName=DNS:${fqdn} -keyout /tmp/other.key -out /tmp/other.crt`
    )
    const other = ['RAY_TLS_SERVER_CERT=/tmp/other.crt', 'RAY_TLS_SERVER_KEY=/tmp/other.key']
    const [short, plain, foreign] = await Promise.all([
      check('demo-head-svc'),
      check(fqdn, ['RAY_USE_TLS=0']),
      check(fqdn, other)
    ])
    t.not(short.code, 0, 'the short name is not in the certificate')
    t.not(plain.code, 0, 'plaintext is refused')
    t.not(foreign.code, 0, 'a certificate of another CA is refused')
  })

  await t.test('rayguard verify says the same, and why', async t => {
    const files = join(folder, 'worker-files')
    mkdirSync(files)
    for (const name of ['tls.crt', 'tls.key', 'ca.crt']) {
      const content = await execute(namespace, nameOf(workers[0]), 'cat', `${tls}/${name}`)
      writeFileSync(join(files, name), content.stdout, { mode: 0o600 })
    }
    t.strictSame(
      namesOf(join(files, 'tls.crt')),
      ['DNS:localhost', `IP:${workers[0]?.status?.podIP}`, 'IP:127.0.0.1', 'IP:::1'].sort(),
      'a worker has its own names alone'
    )
    const verify = async (name: string, directory = files) => {
      const address = `${head?.status?.podIP}:6379`
      const options = ['--address', address, '--name', name, '--directory', directory, '-o', 'json']
      return JSON.parse((await run('node', ['dist/rayguard.js', 'verify', ...options])).stdout)
    }
    t.match(await verify(fqdn), { ok: true, code: 'Verified' }, 'the full name')
    t.match(await verify('demo-head-svc'), { ok: false, code: 'PeerName' }, 'the short name')
    const foreign = join(folder, 'foreign-files')
    mkdirSync(foreign)
    const ca = makeCa(foreign, 'ca')
    makePair(foreign, 'tls', ca, `DNS:${fqdn}`)
    t.match(await verify(fqdn, foreign), { ok: false, code: 'PeerUntrusted' }, 'another CA')
    writeFileSync(join(foreign, 'ca.crt'), readFileSync(join(files, 'ca.crt')))
    t.match(
      await verify(fqdn, foreign),
      { ok: false },
      'another CA’s certificate, shown to the head'
    )
  })

  await t.test('a deleted worker and a deleted head come back with new certificates', async t => {
    const known = new Set(await Promise.all(pods.map(pod => serialOf(namespace, nameOf(pod)))))
    t.equal(known.size, 3, 'each pod has a certificate of its own')
    const gone: string[] = []
    for (const pod of [workers[0], head]) {
      gone.push(nameOf(pod))
      await kubectl([
        '-n',
        namespace,
        'delete',
        'pod',
        nameOf(pod),
        '--wait=false',
        '--grace-period=1'
      ])
      const now = await readyPods(namespace, gone)
      const serials = await Promise.all(now.map(each => serialOf(namespace, nameOf(each))))
      const fresh = serials.filter(serial => !known.has(serial))
      t.ok(fresh.length > 0, `${isHead(pod as Pod) ? 'the head' : 'the worker'} has a new one`)
      for (const serial of serials) known.add(serial)
      const job = await eventually(
        'a job over three hosts',
        async () => {
          const answer = await runJob(
            namespace,
            nameOf((await readyPods(namespace, gone)).find(isHead))
          )
          return /hosts: 3/.test(answer.output) && answer
        },
        readyLimitMs
      )
      t.match(job.output, /hosts: 3/, 'and the cluster works')
    }
  })
  await remove()
})

/** From the log of the agent, which has milliseconds. */
async function certificateWrittenMs(namespace: string, pod: string): Promise<number> {
  const log = await kubectl(['-n', namespace, 'logs', pod, '-c', 'rayguard-enroll'])
  const lines = log
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as { time: string; message: string })
  const written = lines.find(({ message }) => message.startsWith('Wrote the certificate'))
  return Date.parse(written?.time ?? '')
}

async function serialOf(namespace: string, pod: string): Promise<string> {
  const { stdout } = await execute(
    namespace,
    pod,
    'openssl',
    'x509',
    '-in',
    `${tls}/tls.crt`,
    '-noout',
    '-serial'
  )
  return stdout.trim()
}

function describeTimes(times: Map<string, PodTimes>): string {
  return [...times.values()]
    .map(
      ({ node, addressMs = 0, readyMs = 0 }) =>
        `${node} ${((readyMs - addressMs) / 1000).toFixed(1)} s`
    )
    .join(', ')
}
