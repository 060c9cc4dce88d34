/** What holds for every injected pod, judged by openssl and by the stored pod alone. */
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Container, Pod } from '../../src/kubernetes/objects.ts'
import { openssl } from './cluster-certificates.ts'
import type { AgentRun } from './cluster-kubelet.ts'

export const allContainers = ({ spec }: Pod): Container[] => [
  ...(spec.initContainers ?? []),
  ...spec.containers
]

/** The stored pod of a head or worker: our init container first, TLS where Ray's gRPC is spoken and nowhere else. */
export function checkInjected(t: Test, pod: Pod): void {
  const [first] = pod.spec.initContainers ?? []
  t.equal(first?.name, 'rayguard-enroll', 'the agent runs before everything else')
  const ray = [pod.spec.containers[0]?.name, 'autoscaler', 'wait-gcs-ready']
  for (const container of allContainers(pod)) {
    if (container.name === 'rayguard-enroll') continue
    const uses = container.env?.find(({ name }) => name === 'RAY_USE_TLS')?.value
    const mount = container.volumeMounts?.find(({ name }) => name === 'rayguard-tls')
    if (ray.includes(container.name)) {
      t.equal(uses, '1', `${container.name} uses TLS`)
      t.equal(mount?.readOnly, true, `${container.name} reads the key and cannot write it`)
    } else {
      t.equal(uses, undefined, `${container.name} has nothing to do with TLS`)
      t.equal(mount, undefined, `${container.name} cannot read the key`)
    }
    const token = container.volumeMounts?.some(({ name }) => name === 'rayguard-token') ?? false
    t.notOk(token, `${container.name} cannot read the token of the agent`)
  }
  const apiToken = first?.volumeMounts?.filter(
    ({ mountPath }) => mountPath === '/var/run/secrets/kubernetes.io/serviceaccount'
  )
  t.match(apiToken, [{ name: 'rayguard-no-api-token' }], 'the agent has no API token')
  checkRestricted(t, pod)
}

/** The four fields that an ordinary Ray pod lacks; that the API server has stored the pod says the rest. */
export function checkRestricted(t: Test, pod: Pod): void {
  for (const { name, securityContext } of allContainers(pod)) {
    t.equal(securityContext?.allowPrivilegeEscalation, false, `${name} gains no privileges`)
    t.strictSame(securityContext?.capabilities?.drop, ['ALL'], `${name} drops all capabilities`)
  }
}

export interface CertificateExpectation {
  run: Pick<AgentRun, 'directory' | 'terminationMessage'>
  /** With `trust: perCluster`, where its RayCluster has a CA of its own. */
  pod?: Pod
  /** PEM of the CA outside. */
  ca: string
  ip: string
  /** Beside `localhost`. */
  dnsNames: string[]
}

/** The three files of a pod: exactly the names it may have, usable both ways, for this key, under one CA alone. */
export function checkCertificate(t: Test, expected: CertificateExpectation): void {
  const { run, pod, ca, ip, dnsNames } = expected
  const certificate = join(run.directory, 'tls.crt')
  const anchor = join(run.directory, 'ca.crt')
  const trusted = readFileSync(anchor, 'utf8')
  if (pod === undefined) t.equal(trusted.trim(), ca.trim(), 'the trust anchor is the CA that signs')
  else {
    const outside = join(run.directory, 'outside.pem')
    writeFileSync(outside, ca)
    t.equal(trusted.match(/BEGIN/g)?.length, 1, 'there is one trust anchor')
    t.match(
      openssl('x509', '-in', anchor, '-noout', '-subject'),
      `RayCluster ${pod.metadata.ownerReferences?.[0]?.uid}`,
      'the CA of its RayCluster'
    )
    const judged = openssl('verify', '-x509_strict', '-CAfile', outside, anchor)
    t.match(judged, /: OK\n$/, 'which ours has signed')
  }
  for (const purpose of ['sslserver', 'sslclient']) {
    const verdict = openssl(
      'verify',
      '-x509_strict',
      '-partial_chain',
      '-purpose',
      purpose,
      '-CAfile',
      anchor,
      certificate
    )
    t.match(verdict, /: OK\n$/, `openssl accepts it as ${purpose}`)
  }
  t.strictSame(
    namesOf(certificate),
    [
      'DNS:localhost',
      ...dnsNames.map(name => `DNS:${name}`),
      `IP:${ip}`,
      'IP:127.0.0.1',
      'IP:::1'
    ].sort(),
    'the names are exactly those of this pod'
  )
  const key = join(run.directory, 'tls.key')
  t.equal(
    openssl('pkey', '-in', key, '-pubout'),
    openssl('x509', '-in', certificate, '-noout', '-pubkey'),
    'the certificate is for the key of this pod'
  )
  t.equal(statSync(key).mode & 0o007, 0, 'the key is closed to others')
  const serial = openssl('x509', '-in', certificate, '-noout', '-serial')
  t.equal(
    BigInt(`0x${JSON.parse(run.terminationMessage).serialNumber}`),
    BigInt(serial.trim().replace('serial=', '0x')),
    'the termination message names the certificate'
  )
}

/** As `openssl x509 -ext subjectAltName` shows them, sorted; addresses in their short form. */
export function namesOf(certificateFile: string): string[] {
  return openssl('x509', '-in', certificateFile, '-noout', '-ext', 'subjectAltName')
    .split('\n')
    .slice(1)
    .join('')
    .split(',')
    .map(name => name.trim().replace('IP Address:', 'IP:').replace('0:0:0:0:0:0:0:1', '::1'))
    .filter(name => name !== '')
    .sort()
}
