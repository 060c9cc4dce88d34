import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { openAuthority } from '../../src/authority/open.ts'
import { inject } from '../../src/injection/inject.ts'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { lifetimesOf, startStage } from '../support/enrollment-stage.ts'
import { image, namespace, rayCluster, rayPod, serviceOf } from '../support/ray-objects.ts'

const run = promisify(execFile)

t.test('a pod as the webhook makes it gets what openssl calls a good certificate', async t => {
  const directory = t.testdir()
  const file = (name: string) => join(directory, name)
  const files = { certificateFile: file('ca.crt'), privateKeyFile: file('ca.key') }
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-subj', '/CN=Pods', '-days', '30', '-out', files.certificateFile],
    ...['-keyout', files.privateKeyFile, '-addext', 'keyUsage=critical,keyCertSign']
  ])
  const realAuthority = await openAuthority(
    { kind: 'pem', ...files },
    { clock: Date.now, random: size => randomBytes(size), pollMs: 0 }
  )
  const stage = await startStage({ realAuthority, lifetimes: lifetimesOf(14 * 24 * 3600) })
  t.teardown(async () => {
    await stage.close()
    await realAuthority.close()
  })
  const status = { head: { podName: 'head-1', serviceName: 'demo-head-svc' } }
  const cluster = rayCluster('demo', status)
  stage.standIn.put(cluster)
  stage.standIn.put(serviceOf(cluster, 'demo-head-svc'))
  for (const [node, ip] of [
    ['head', '127.0.0.2'],
    ['worker', '127.0.0.3']
  ] as const) {
    const bare = rayPod({ name: `${node}-1`, cluster, node, ips: [ip] })
    bare.spec = { ...bare.spec, initContainers: null, volumes: null }
    const injected = inject(
      bare,
      { namespace, podSecurity: 'warn', tls: 'tls' },
      {
        image,
        formerImages: [],
        imagePullPolicy: 'IfNotPresent',
        imagePullSecrets: [],
        serverUrl: stage.url,
        serverCa: stage.serverCa,
        keyAlgorithm: 'P-256',
        keyGroup: 65532,
        resources: { cpu: '500m', memory: '128Mi' },
        user: 65532
      }
    )
    if (!injected.allowed) throw new Error(injected.reason)
    const pod = await stage.run(injected.pod as Pod)
    const { status, body } = await stage.enroll(pod)
    t.equal(status, 201, `${node}: ${body.code} ${JSON.stringify(stage.observed.at(-1)?.outcome)}`)
    await writeFile(file('leaf.crt'), String(body.certificate))
    t.equal(
      body.trustAnchors,
      await readFile(files.certificateFile, 'utf8'),
      'the CA is the anchor'
    )
    for (const purpose of ['sslserver', 'sslclient']) {
      const verify = ['verify', '-x509_strict', '-purpose', purpose, '-verify_ip', ip]
      const judged = await run('openssl', [
        ...verify,
        '-CAfile',
        files.certificateFile,
        file('leaf.crt')
      ]).catch(error => error)
      t.match(judged.stdout, /: OK/, `${node}: openssl takes it as ${purpose} (${judged.stderr})`)
    }
    const host = ['verify', '-verify_hostname', 'demo-head-svc.team-a.svc.cluster.local']
    const asHead = await run('openssl', [
      ...host,
      '-CAfile',
      files.certificateFile,
      file('leaf.crt')
    ]).catch(error => error)
    t.equal(/: OK/.test(asHead.stdout), node === 'head', `${node}: it speaks for the head or not`)
  }
})
