/** Client certificates against a real API server: it vouches for the users, and openssl judges what they get. */
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { entrySecrets, recordSecret } from '../../src/authority/per-cluster/entries.ts'
import { clientSigner, rayClusterAnnotation } from '../../src/contract/client-certificates.ts'
import type {
  CertificateSigningRequest,
  KubernetesObject,
  Pod
} from '../../src/kubernetes/objects.ts'
import {
  apply,
  type ClusterApi,
  connect,
  eventually,
  makeNamespace,
  makeToken,
  skip
} from '../support/cluster.ts'
import { makePair, openssl, type TestCa } from '../support/cluster-certificates.ts'
import { renderChart, skipWithoutHelm } from '../support/cluster-chart.ts'
import { kubectl, run } from '../support/cluster-kubectl.ts'
import { toInput } from '../support/cluster-manifest.ts'
import { startRayguard } from '../support/cluster-rayguard.ts'
import { sample } from '../support/cluster-samples.ts'
import { kubeconfigOf } from '../support/cluster-user.ts'
import { mutualTls } from '../support/mutual-tls.ts'

const collection = '/apis/certificates.k8s.io/v1/certificatesigningrequests'
const [mine, others] = ['clients-mine', 'clients-others']
const perUser = 20

t.test('client certificates', { skip: skip || skipWithoutHelm }, async t => {
  const api = await connect()
  const folder = t.testdir()
  const rights = await rightsOfChart()
  const cluster = await twoClusters(api)
  await grant(api)
  const made = createRequests(folder, cluster)

  // before anybody is there who could deny it
  const early = await made.create('bob', {})
  await kubectl(['certificate', 'approve', early])

  const settings = {
    clientCertificates: { enabled: true, lifetime: '4h', requestsPerUser: perUser }
  }
  const rayguard = await startRayguard(api, folder, settings, { RAYGUARD_TRUST: 'shared' })
  t.teardown(async () => {
    await rayguard.stop()
    for (const namespace of [mine, others]) await api.delete(`/api/v1/namespaces/${namespace}`)
    await kubectl(['delete', 'clusterrolebinding', 'client-requests'])
    await kubectl(['delete', '-f', '-'], rights)
    api.close()
  })

  await t.test('attack: an approval by a person does not replace the right', async t => {
    t.match(await made.outcome(early), { type: 'Failed', reason: 'Forbidden' })
    t.notOk((await made.read(early)).status?.certificate, 'and nothing is signed')
  })

  await t.test('who has the right gets a certificate for clients alone', async t => {
    const kubeconfig = await kubeconfigOf(api, folder, mine, 'alice')
    const directory = join(folder, "alice's files")
    const ask = (...more: string[]) =>
      clientCert(kubeconfig, '-n', mine, cluster, '--directory', directory, ...more)
    const first = await ask()
    t.match(first, { code: 0, stdout: /until 20.*is in/ }, first.stderr)
    t.equal(statSync(join(directory, 'tls.key')).mode & 0o777, 0o600, 'the key is the user’s alone')
    const file = (name: string) => join(directory, name)
    const leaf = new X509Certificate(readFileSync(file('tls.crt')))
    t.equal(leaf.subjectAltName, undefined, 'no name, no address')
    t.equal(leaf.subject, 'O=Rayguard\nCN=Ray client', 'the same subject for everybody')
    const hours = (Date.parse(leaf.validTo) - Date.now()) / 3_600_000
    t.ok(hours > 3.9 && hours <= 4, `it lives for ${hours} hours`)
    t.equal(
      readFileSync(file('ca.crt'), 'utf8').trim(),
      rayguard.ca.certificate.trim(),
      'the CA of the pods'
    )
    t.ok(verified(directory, 'sslclient'), 'openssl: a client')
    t.notOk(verified(directory, 'sslserver'), 'openssl, attack: it is no server')
    const { stdout: environment } = await run('bash', [
      '-c',
      `. '${directory.replace("'", "'\\''")}/env.sh'; env`
    ])
    for (const line of [
      'RAY_USE_TLS=1',
      `RAY_TLS_SERVER_CERT=${file('tls.crt')}`,
      `RAY_TLS_SERVER_KEY=${file('tls.key')}`,
      `RAY_TLS_CA_CERT=${file('ca.crt')}`
    ])
      t.ok(environment.includes(`${line}\n`), line)
    await handshakes(t, folder, directory, rayguard.ca)

    const key = readFileSync(file('tls.key'), 'utf8')
    t.match(
      await ask(),
      { code: 1, stderr: /is there already/ },
      'a second time nothing is replaced'
    )
    t.equal(readFileSync(file('tls.key'), 'utf8'), key)
    t.match(await ask('--force', '--lifetime', '1h'), { code: 0 }, 'unless asked')
    t.not(readFileSync(file('tls.key'), 'utf8'), key, 'with a new key')
    const shorter = new X509Certificate(readFileSync(file('tls.crt')))
    t.ok(Date.parse(shorter.validTo) < Date.now() + 3_600_001, 'for as long as asked')
    const serialNumber = leaf.serialNumber.toLowerCase()
    const events = await eventually('an Event tells of it', async () => {
      const found = await api.list<KubernetesObject & { reason: string; note: string }>(
        `/apis/events.k8s.io/v1/namespaces/${mine}/events`
      )
      return found.find(({ note }) => note?.includes(serialNumber))
    })
    t.match(events.note, `system:serviceaccount:${mine}:alice`, 'at the RayCluster')
    const log = await rayguard.log()
    t.match(log, /client certificate issued/, 'and the log')
    t.match(log, serialNumber)
    const { token } = parse(readFileSync(kubeconfig, 'utf8')).users[0].user
    const requests = await api.list<CertificateSigningRequest>(collection)
    const asked = requests.filter(({ spec }) => spec.username?.endsWith(':alice'))
    t.equal(asked.length, 2, 'what Rayguard has read of the user')
    const read = `${JSON.stringify(asked)}${log}`
    t.notOk(read.includes(token), 'attack 77: holds no token of hers, nor does the log')
  })

  await t.test('attack 92: who lacks the right gets none', async t => {
    const bob = await kubeconfigOf(api, folder, mine, 'bob')
    const directory = join(folder, 'bob')
    const refused = await clientCert(bob, '-n', mine, cluster, '--directory', directory)
    t.match(refused, { code: 1, stderr: /refused \(Forbidden\)/ })
    t.notOk(existsSync(join(directory, 'tls.key')), 'and no key lies about')
    const cases: [title: string, user: string, changes: Changes, reason: string][] = [
      ['another tenant’s RayCluster', 'alice', { rayCluster: `${others}/${cluster}` }, 'Forbidden'],
      [
        'one that is not there, asked by who may not know',
        'bob',
        { rayCluster: `${mine}/none` },
        'Forbidden'
      ],
      ['one that is not there', 'alice', { rayCluster: `${mine}/none` }, 'RayClusterNotFound'],
      ['no RayCluster', 'alice', { rayCluster: '' }, 'BadRequest'],
      ['a path', 'alice', { rayCluster: `${mine}/../${others}/${cluster}` }, 'BadRequest'],
      [
        'the name of a head',
        'alice',
        { names: `DNS:${cluster}-head-svc.${mine}.svc.cluster.local` },
        'CsrUnexpected'
      ],
      ['an address', 'alice', { names: 'IP:10.0.0.1' }, 'CsrUnexpected'],
      [
        'a subject that means something elsewhere',
        'alice',
        { subject: '/O=system:masters/CN=admin' },
        'CsrUnexpected'
      ],
      [
        'the usage of a server',
        'alice',
        { usages: ['client auth', 'server auth'] },
        'UsageNotAllowed'
      ],
      ['a weak key', 'alice', { key: ['rsa:1024'] }, 'KeyNotAllowed']
    ]
    for (const [title, user, changes, reason] of cases) {
      const request = await made.create(user, changes)
      t.match(await made.outcome(request), { type: 'Denied', reason }, `attack: ${title}`)
    }
  })

  await t.test('attack 92: who asks is what the API server has written', async t => {
    const forged = { username: 'system:admin', uid: '1', groups: ['system:masters'] }
    const name = await made.create('bob', { spec: forged })
    t.match(
      await made.outcome(name),
      { type: 'Denied', reason: 'Forbidden' },
      'attack: a forged user'
    )
    const { spec } = await made.read(name)
    t.equal(spec.username, `system:serviceaccount:${mine}:bob`)
    t.notOk(spec.groups?.includes('system:masters'))

    const waiting = await made.create('bob', { signerName: 'example.com/other' })
    const object = await made.read(waiting)
    await api.replace(`${collection}/${waiting}`, {
      ...object,
      spec: { ...object.spec, ...forged, signerName: clientSigner }
    })
    t.strictSame(
      (await made.read(waiting)).spec,
      object.spec,
      'attack: nor can it be changed later'
    )

    const bob = api.as(await makeToken(api, mine, 'bob'))
    t.teardown(bob.close)
    const conditions = [{ type: 'Approved', status: 'True', reason: 'Attack' }]
    for (const [subresource, status] of [
      ['approval', { conditions }],
      ['status', { certificate: Buffer.from(rayguard.ca.certificate).toString('base64') }]
    ] as const)
      await t.rejects(
        bob.replace(`${collection}/${waiting}/${subresource}`, { ...object, status }),
        { code: 403 },
        `attack: who may ask writes the ${subresource}`
      )
  })

  await t.test('attack 92: who is impersonated is who asks, with groups', async t => {
    const name = await made.create('carol', { as: ['--as', 'carol', '--as-group', 'ray-users'] })
    const issued = await eventually('it is signed', async () => {
      const found = await made.read(name)
      return found.status?.certificate ? found : undefined
    })
    t.equal(issued.spec.username, 'carol', 'recorded by the API server')
    t.match(issued.status?.conditions, [{ type: 'Approved', message: /^carol may connect/ }])
    t.match(await rayguard.log(), /"user":"carol"/, 'and by us')
  })

  await t.test('attack 94: a key is for one request', async t => {
    const pem = made.pem({})
    t.match(await made.outcome(await made.create('alice', { pem })), { type: 'Approved' })
    t.match(await made.outcome(await made.create('alice', { pem })), { reason: 'KeyReused' })
  })

  await t.test('attack 95: a user has so many requests an hour', async t => {
    const names = []
    for (let count = 0; count <= perUser; count += 1)
      names.push(
        await made.create('dave', {
          as: ['--as', 'dave', '--as-group', 'system:masters'],
          rayCluster: `${mine}/none`
        })
      )
    const reasons = await Promise.all(names.map(async name => (await made.outcome(name)).reason))
    const count = (reason: string) => reasons.filter(found => found === reason).length
    t.equal(count('RayClusterNotFound'), perUser)
    t.equal(count('QuotaExceeded'), 1)
  })

  await t.test('attack 95: what is for another signer is not ours', async t => {
    const foreign = await made.create('alice', { signerName: 'example.com/other' })
    // ours, made after it, has its answer: the other one has been passed over
    await made.outcome(await made.create('alice', {}))
    t.notOk((await made.read(foreign)).status?.conditions, 'nobody has touched it')
    const enrollment = api.as(await makeToken(api, 'rayguard-system', 'rayguard-enrollment'))
    t.teardown(() => enrollment.close())
    const attempt = async (subresource: string, status: object) => {
      const object = await made.read(foreign)
      return enrollment.replace(`${collection}/${foreign}/${subresource}`, {
        ...object,
        status: { ...object.status, ...status }
      })
    }
    const conditions = [{ type: 'Approved', status: 'True', reason: 'Attack' }]
    await t.rejects(attempt('approval', { conditions }), { code: 403 }, 'attack: we approve it')
    await kubectl(['certificate', 'approve', foreign])
    const certificate = Buffer.from(rayguard.ca.certificate).toString('base64')
    await t.rejects(attempt('status', { certificate }), { code: 403 }, 'attack: we sign it')
  })

  const counted = await rayguard.metrics('rayguard_client_certificate_requests_total')
  for (const code of ['Issued', 'Forbidden', 'CsrUnexpected', 'KeyReused', 'QuotaExceeded'])
    t.ok(
      counted.some(line => line.includes(`code="${code}"`)),
      `${code} is counted`
    )
  t.notMatch(
    await rayguard.log(),
    /BEGIN|LS0tLS1CRUdJTi/,
    'attack 46: no request and no certificate in the log'
  )
  await rayguard.stop()
  await t.test('a CA for each RayCluster keeps them apart', t => keptApart(t, api, cluster))
})

async function keptApart(t: Test, api: ClusterApi, cluster: string): Promise<void> {
  const folder = t.testdir()
  // as in a new installation: a change of the setting would have to settle first
  for (const name of [recordSecret, ...entrySecrets])
    await api.delete(`/api/v1/namespaces/rayguard-system/secrets/${name}`)
  const rayguard = await startRayguard(api, folder, { clientCertificates: { enabled: true } })
  t.teardown(async () => {
    await rayguard.unregister()
    await rayguard.stop()
  })
  // from now on KubeRay's heads have TLS, and with its head a RayCluster gets its CA
  await rayguard.register()
  const kubeconfig = await kubeconfigOf(api, folder, mine, 'alice')
  const ask = async (name: string, rayCluster = 'kept') => {
    const directory = join(folder, name)
    const flags = ['-n', mine, rayCluster, '--directory', directory]
    const { code, stderr } = await clientCert(kubeconfig, ...flags)
    t.equal(code, 0, stderr)
    return directory
  }
  const at = (name: string) => `/apis/ray.io/v1/namespaces/${mine}/rayclusters/${name}`
  const { spec } = await api.get<KubernetesObject & { spec: object }>(at(cluster))
  const shape = { apiVersion: 'ray.io/v1', kind: 'RayCluster', spec }
  const make = async (name: string) => {
    await apply(api, mine, [{ ...shape, metadata: { name } }])
    const { uid } = (await api.get<KubernetesObject>(at(name))).metadata
    await eventually('its head is there', async () => {
      const pods = await api.list<Pod>(`/api/v1/namespaces/${mine}/pods`)
      return pods.some(
        ({ metadata: { labels, ownerReferences } }) =>
          labels?.['ray.io/node-type'] === 'head' && ownerReferences?.[0]?.uid === uid
      )
    })
  }
  await make('kept')
  await make('neighbour')

  const first = await ask('first')
  const neighbour = await ask('neighbour', 'neighbour')
  t.ok(verified(first, 'sslclient'), 'its own RayCluster accepts it')
  t.notOk(verified(first, 'sslclient', neighbour), 'attack: another of the same namespace')
  t.notOk(verified(first, 'sslserver'), 'attack: it serves')

  await api.delete(at('kept'))
  await eventually('it is gone', async () => (await api.find(at('kept'))) === undefined)
  await make('kept')
  const again = await ask('again')
  t.ok(verified(again, 'sslclient'))
  t.notOk(verified(first, 'sslclient', again), 'attack: a later one of the same name')
}

interface Changes {
  /** Of the annotation. */
  rayCluster?: string
  names?: string
  subject?: string
  usages?: string[]
  key?: string[]
  pem?: string
  signerName?: string
  /** What a user writes where the API server does. */
  spec?: object
  /** Flags of kubectl; default: the service account of that name. */
  as?: string[]
}

function createRequests(folder: string, cluster: string) {
  let count = 0
  const read = async (name: string): Promise<CertificateSigningRequest> =>
    JSON.parse(await kubectl(['get', 'csr', name, '-o', 'json']))

  function pem({
    names,
    subject = '/',
    key = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
  }: Changes) {
    const file = join(folder, `request-${count}`)
    openssl(
      ...['req', '-new', '-newkey', ...key, '-nodes', '-subj', subject],
      ...(names === undefined ? [] : ['-addext', `subjectAltName=${names}`]),
      ...['-keyout', `${file}.key`, '-out', `${file}.csr`]
    )
    return readFileSync(`${file}.csr`, 'utf8')
  }

  return {
    read,
    pem,
    async create(user: string, changes: Changes): Promise<string> {
      count += 1
      const name = `${user}-${count}`
      const { rayCluster = `${mine}/${cluster}`, usages = ['client auth'] } = changes
      const object = {
        apiVersion: 'certificates.k8s.io/v1',
        kind: 'CertificateSigningRequest',
        metadata: { name, annotations: { [rayClusterAnnotation]: rayCluster } },
        spec: {
          signerName: changes.signerName ?? clientSigner,
          request: Buffer.from(changes.pem ?? pem(changes)).toString('base64'),
          usages,
          ...changes.spec
        }
      }
      const as = changes.as ?? ['--as', `system:serviceaccount:${mine}:${user}`]
      await kubectl(['create', '-f', '-', ...as], JSON.stringify(object))
      return name
    },
    outcome: (name: string) =>
      eventually(`${name} is answered`, async () => {
        const { status } = await read(name)
        const conditions = status?.conditions ?? []
        const no = conditions.find(({ type }) => type === 'Denied' || type === 'Failed')
        return no ?? (status?.certificate ? conditions[0] : undefined)
      })
  }
}

/** Applied; for `kubectl delete -f -`. */
async function rightsOfChart(): Promise<string> {
  const rights = toInput(
    renderChart('clientCertificates.enabled=true').filter(
      ({ kind = '', metadata }) =>
        kind.startsWith('ClusterRole') && metadata.name?.startsWith('rayguard-client')
    )
  )
  await kubectl(['apply', '-f', '-'], rights)
  return rights
}

/** Two tenants with a RayCluster of the same name. */
async function twoClusters(api: ClusterApi): Promise<string> {
  const [cluster] = await sample('ray-cluster.sample')
  for (const namespace of [mine, others]) {
    await makeNamespace(api, namespace)
    await apply(api, namespace, cluster ? [cluster] : [])
  }
  return cluster?.metadata.name ?? ''
}

/** As docs/client-certificates.md says. */
async function grant(api: ClusterApi): Promise<void> {
  for (const name of ['alice', 'bob'])
    await api.create(`/api/v1/namespaces/${mine}/serviceaccounts`, { metadata: { name } })
  const group = `--group=system:serviceaccounts:${mine}`
  await kubectl([
    ...[
      'create',
      'clusterrolebinding',
      'client-requests',
      '--clusterrole=rayguard-client-requests'
    ],
    ...[group, '--group=ray-users']
  ])
  await kubectl([
    ...['-n', mine, 'create', 'rolebinding', 'clients', '--clusterrole=rayguard-client'],
    ...[`--serviceaccount=${mine}:alice`, '--group=ray-users']
  ])
}

function clientCert(kubeconfig: string, ...rest: string[]) {
  const command = ['dist/rayguard.js', 'client-cert', '--kubeconfig', kubeconfig, ...rest]
  return run(process.execPath, command)
}

/** By the CA that came to `trusting`, as gRPC judges: nothing above it is looked at. */
function verified(directory: string, purpose: string, trusting = directory): boolean {
  try {
    openssl(
      ...['verify', '-x509_strict', '-partial_chain', '-purpose', purpose],
      ...['-no-CApath', '-no-CAstore', '-CAfile', join(trusting, 'ca.crt')],
      join(directory, 'tls.crt')
    )
    return true
  } catch {
    return false
  }
}

/** The files get in at a pod of this CA, and are none of a server. */
async function handshakes(t: Test, folder: string, directory: string, ca: TestCa) {
  const files = (certificate: string, key: string) => ({
    cert: readFileSync(certificate),
    key: readFileSync(key),
    ca: ca.certificate
  })
  const { certificateFile, privateKeyFile } = makePair(folder, 'pod', ca, 'DNS:localhost')
  const pod = files(certificateFile, privateKeyFile)
  const client = files(join(directory, 'tls.crt'), join(directory, 'tls.key'))
  t.equal(await mutualTls(pod, client), 'secure', 'a pod lets the client in')
  t.not(await mutualTls(pod, { ca: ca.certificate }), 'secure', 'and nobody without it')
  t.equal(await mutualTls(client, pod), 'INVALID_PURPOSE', 'attack: it serves')
}
