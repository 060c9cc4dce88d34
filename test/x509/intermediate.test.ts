import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto'
import t from 'tap'
import { createLocalIssuer } from '../../src/authority/local.ts'
import { usableChain } from '../../src/authority/pem-files.ts'
import { openPemKey } from '../../src/authority/pem-key.ts'
import { readChain } from '../../src/x509/chain.ts'
import {
  checkIntermediate,
  type IntermediateExpectation
} from '../../src/x509/check-intermediate.ts'
import { checkLeaf } from '../../src/x509/check-leaf.ts'
import { readCertificateRequest } from '../../src/x509/csr.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { encodePem } from '../../src/x509/pem.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { subjectOf } from '../../src/x509/subject.ts'
import { intermediateRequest } from '../support/intermediate-request.ts'
import { caExtensions, type KeyKind, type MadeCa, makeCa, openWorkshop } from './openssl.ts'

const workshop = openWorkshop(t)
const clock = () => Date.now() + 1000
const daySeconds = 86_400
const commonName = 'RayCluster 2f1c6a4e-0b53-4d0c-9a55-7d4f2f0f6a11'
const names = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'] }
const strictly = ['verify', '-x509_strict']

function issuerOf(name: string) {
  const chain = usableChain(workshop.read(`${name}.crt`), { now: new Date(clock()) })
  const key = openPemKey(workshop.read(`${name}.key`))
  return createLocalIssuer('pem', chain, key, { clock, random: randomBytes })
}

const newKey = () => makeKeyPairSync().privateKey
const clusterKey = newKey()
const request = intermediateRequest(clusterKey, commonName, 365 * daySeconds)
const { publicKey } = request
const expectation = (changes: Partial<IntermediateExpectation> = {}): IntermediateExpectation => ({
  ...{ publicKey, commonName, now: new Date(clock()) },
  maximumLifetimeSeconds: request.lifetimeSeconds,
  ...changes
})
const codes = (pem: string, changes: Partial<IntermediateExpectation> = {}) => [
  ...new Set(checkIntermediate(pem, expectation(changes)).map(({ code }) => code))
]

/** The leaf of a pod, by the CA of its Ray cluster. */
async function leafBelow(intermediate: string, key = clusterKey) {
  const reading = readChain(intermediate, { now: new Date(clock()) })
  if (!reading.usable) throw new Error('The intermediate is not usable as a chain.')
  const pem = key.export({ type: 'pkcs8', format: 'pem' }) as string
  const sources = { clock, random: randomBytes }
  const issuer = createLocalIssuer('perCluster', reading.chain, openPemKey(pem), sources)
  const podKey = newKey()
  const content = {
    publicKey: createPublicKey(podKey).export({ type: 'spki', format: 'der' }),
    csr: Buffer.from(createCertificateRequest(podKey)),
    names,
    lifetimeSeconds: 90 * daySeconds
  }
  const issued = await issuer.issue(content)
  const problems = checkLeaf(issued, {
    ...{ publicKey: content.publicKey, names, now: new Date(clock()) },
    maximumLifetimeSeconds: content.lifetimeSeconds
  })
  return { issued, problems }
}

t.test('every kind of CA signs an intermediate that openssl takes, and pods below it', async t => {
  for (const kind of ['P-256', 'P-384', 'RSA-2048', 'Ed25519'] satisfies KeyKind[]) {
    const root = makeCa(workshop, 'root', { kind })
    const pem = await issuerOf('root').intermediates.issue(request)
    t.strictSame(codes(pem, { issuers: root }), [], `${kind}: our check`)
    const { issued, problems } = await leafBelow(pem)
    t.strictSame(problems, [], `${kind}: the pod's`)
    t.equal(issued.trustAnchors, pem, `${kind}: attack 52: the intermediate alone is trusted`)
    workshop.write('cluster.crt', pem)
    workshop.write('leaf.crt', issued.certificate)
    const whole = ['-CAfile', 'root.crt', '-untrusted', 'cluster.crt', 'leaf.crt']
    t.ok(workshop.judge(...strictly, ...whole).ok, `${kind}: openssl, up to the root`)
    const partial = ['-partial_chain', '-CAfile', 'cluster.crt', 'leaf.crt']
    t.ok(workshop.judge(...strictly, ...partial).ok, `${kind}: openssl, as gRPC does`)
  }
})

t.test('openssl sees the fixed form', async t => {
  makeCa(workshop, 'root')
  workshop.write('cluster.crt', await issuerOf('root').intermediates.issue(request))
  const text = workshop.run('x509', '-in', 'cluster.crt', '-noout', '-text')
  t.match(text, /Basic Constraints: critical\s+CA:TRUE, pathlen:0\n/, 'no CA below it')
  t.match(text, /Key Usage: critical\s+Certificate Sign, CRL Sign\n/, 'it signs, no more')
  t.match(text, new RegExp(`Subject: O ?= ?Rayguard, CN ?= ?${commonName}\n`), 'whose it is')
  const types = () => workshop.run('asn1parse', '-in', 'cluster.crt').match(/\w+STRING +:Ray.*/g)
  t.strictSame(
    types(),
    [`PRINTABLESTRING   :Rayguard`, `PRINTABLESTRING   :${commonName}`],
    'as authorities in Go write it anew'
  )
  const subject = subjectOf('RayCluster a_b')
  workshop.write('cluster.crt', await issuerOf('root').intermediates.issue({ ...request, subject }))
  t.match(types()?.[1], /^UTF8STRING +:RayCluster a_b$/, 'what such a string cannot hold')
  t.notMatch(text, /Extended Key Usage|Alternative Name|Name Constraints/, 'nothing else')
})

t.test('attack: what an intermediate signs beyond pods is refused by openssl', async t => {
  makeCa(workshop, 'root')
  workshop.write('cluster.crt', await issuerOf('root').intermediates.issue(request))
  workshop.write('cluster.key', clusterKey.export({ type: 'pkcs8', format: 'pem' }) as string)
  makeCa(workshop, 'below', { issuer: 'cluster' })
  makeCa(workshop, 'leaf', { issuer: 'below', extensions: ['basicConstraints=CA:FALSE'] })
  workshop.write('chain.crt', workshop.read('below.crt') + workshop.read('cluster.crt'))
  const judged = workshop.judge(
    ...strictly,
    ...['-CAfile', 'root.crt', '-untrusted', 'chain.crt', 'leaf.crt']
  )
  t.notOk(judged.ok, 'a CA below it')
  t.match(judged.output, /path length/, 'for its path length')
})

t.test('attack 52: the pod of another cluster below the same root is refused', async t => {
  makeCa(workshop, 'root')
  const { intermediates } = issuerOf('root')
  const otherKey = newKey()
  const other = await intermediates.issue({
    ...request,
    publicKey: createPublicKey(otherKey).export({ type: 'spki', format: 'der' }),
    subject: subjectOf('RayCluster 00000000-0000-4000-8000-000000000002')
  })
  workshop.write('a.crt', await intermediates.issue(request))
  workshop.write('b.crt', other)
  workshop.write('leaf-b.crt', (await leafBelow(other, otherKey)).issued.certificate)
  const verify = (anchor: string) =>
    workshop.judge(
      ...strictly,
      ...['-partial_chain', '-CAfile', anchor, '-untrusted', 'b.crt', 'leaf-b.crt']
    ).ok
  t.ok(verify('b.crt'), 'under the anchor of its own cluster')
  t.notOk(verify('a.crt'), 'not under that of cluster A, although it shows its intermediate')
})

t.test('a renewal with the same key serves pods that hold the former one', async t => {
  makeCa(workshop, 'root')
  const { intermediates } = issuerOf('root')
  const [former, renewed] = [await intermediates.issue(request), await intermediates.issue(request)]
  t.not(former, renewed, 'two certificates')
  for (const [what, signer, anchor] of [
    ['a new pod, seen by an old one', renewed, former],
    ['an old pod, seen by a new one', former, renewed]
  ] as const) {
    workshop.write('anchor.crt', anchor)
    workshop.write('leaf.crt', (await leafBelow(signer)).issued.certificate)
    const judged = workshop.judge(
      ...strictly,
      ...['-partial_chain', '-CAfile', 'anchor.crt', 'leaf.crt']
    )
    t.ok(judged.ok, `${what}: ${judged.output}`)
  }
})

t.test('what the CA cannot do is said before it is asked, and refused when it is', async t => {
  const withPathLength = (length: number) => [
    `basicConstraints=critical,CA:TRUE,pathlen:${length}`,
    ...caExtensions.slice(1)
  ]
  makeCa(workshop, 'top', { extensions: withPathLength(1) })
  const cases: [string, MadeCa, string][] = [
    ['a path length of 0', { extensions: withPathLength(0) }, ''],
    ['no room above it', { issuer: 'top' }, workshop.read('top.crt')],
    [
      'name constraints',
      { extensions: [...caExtensions, 'nameConstraints=critical,permitted;DNS:localhost'] },
      ''
    ]
  ]
  for (const [what, made, below] of cases) {
    const own = makeCa(workshop, 'ca', made)
    workshop.write('ca.crt', own + below)
    const { intermediates } = issuerOf('ca')
    t.type(intermediates.problem(), 'string', `${what} is known`)
    await t.rejects(intermediates.issue(request), { code: 'Invalid' }, `${what}: nothing is signed`)
  }
  makeCa(workshop, 'ca', { extensions: withPathLength(1) })
  t.equal(issuerOf('ca').intermediates.problem(), undefined, 'a path length of 1 is enough')
})

t.test('the request says what is wanted, signed by the key', async t => {
  workshop.write('request.pem', encodePem('CERTIFICATE REQUEST', request.csr))
  const text = workshop.run('req', '-in', 'request.pem', '-noout', '-text', '-verify')
  t.match(text, /CA:TRUE, pathlen:0/, 'a CA of path length 0')
  t.match(text, new RegExp(commonName), 'its name')
  const asPod = readCertificateRequest(encodePem('CERTIFICATE REQUEST', request.csr))
  t.equal(asPod.allowed, false, 'attack 7: a pod that sent it would be refused')
})

t.test('an intermediate that is not as it was asked for is never used', async t => {
  const root = makeCa(workshop, 'root', { days: 3650 })
  const other = makeCa(workshop, 'other', { subject: '/CN=root', days: 3650 })
  workshop.write('cluster.key', clusterKey.export({ type: 'pkcs8', format: 'pem' }) as string)
  const subject = `/O=Rayguard/CN=${commonName}`
  const good = [
    'basicConstraints=critical,CA:TRUE,pathlen:0',
    'keyUsage=critical,keyCertSign,cRLSign',
    'subjectKeyIdentifier=hash',
    'authorityKeyIdentifier=keyid'
  ]
  const made = (
    changes: { extensions?: string[]; subject?: string; days?: number; issuer?: string } = {}
  ) => {
    const { extensions = good, days = 30, issuer = 'root' } = changes
    const name = changes.subject ?? subject
    workshop.write(
      'made.cnf',
      `[req]\ndistinguished_name=dn\n[dn]\n[ext]\n${extensions.join('\n')}\n`
    )
    workshop.run(
      'req',
      '-new',
      '-config',
      'made.cnf',
      '-key',
      'cluster.key',
      '-subj',
      name,
      '-out',
      'made.csr'
    )
    const by = ['-CA', `${issuer}.crt`, '-CAkey', `${issuer}.key`, '-days', String(days)]
    workshop.run(
      'x509',
      '-req',
      '-in',
      'made.csr',
      ...by,
      '-extfile',
      'made.cnf',
      '-extensions',
      'ext',
      '-out',
      'made.crt'
    )
    return workshop.read('made.crt')
  }
  const without = (start: string, ...instead: string[]) => [
    ...good.filter(each => !each.startsWith(start)),
    ...instead
  ]
  t.strictSame(codes(made(), { issuers: root }), [], 'openssl makes a good one')
  t.strictSame(
    codes(made({ extensions: [...good, 'extendedKeyUsage=serverAuth,clientAuth'] })),
    [],
    'with both purposes'
  )
  t.strictSame(codes(made({ subject: `/CN=${commonName}/O=Rayguard` })), [], 'in another order')
  const unlimited = made({ extensions: without('basic', 'basicConstraints=critical,CA:TRUE') })
  t.strictSame(codes(unlimited), ['PathLength'], 'no path length')
  t.strictSame(codes(unlimited, { mayLackPathLength: true }), [], 'unless it cannot be set')
  for (const [what, pem, expected] of [
    [
      'path length 1',
      made({ extensions: without('basic', 'basicConstraints=critical,CA:TRUE,pathlen:1') }),
      'PathLength'
    ],
    [
      'no CA',
      made({ extensions: without('basic', 'basicConstraints=critical,CA:FALSE') }),
      'Authority'
    ],
    [
      'not critical',
      made({ extensions: without('basic', 'basicConstraints=CA:TRUE,pathlen:0') }),
      'Authority'
    ],
    [
      'does not sign',
      made({ extensions: without('keyUsage', 'keyUsage=critical,cRLSign') }),
      'KeyUsage'
    ],
    ['no key usage', made({ extensions: without('keyUsage') }), 'KeyUsage'],
    [
      'encrypts too',
      made({ extensions: without('keyUsage', 'keyUsage=critical,keyCertSign,keyEncipherment') }),
      'KeyUsage'
    ],
    [
      'servers alone',
      made({ extensions: [...good, 'extendedKeyUsage=serverAuth'] }),
      'ExtendedKeyUsage'
    ],
    [
      'constraints',
      made({ extensions: [...good, 'nameConstraints=permitted;DNS:localhost'] }),
      'Constraints'
    ],
    [
      'alternative names',
      made({ extensions: [...good, 'subjectAltName=DNS:head.team.svc'] }),
      'Subject'
    ],
    ['another name', made({ subject: '/O=Rayguard/CN=RayCluster other' }), 'Subject'],
    ['one more attribute', made({ subject: `${subject}/OU=more` }), 'Subject'],
    [
      'an unknown critical extension',
      made({ extensions: [...good, '1.2.3.4=critical,ASN1:NULL'] }),
      'CriticalExtension'
    ],
    ['too long', made({ days: 400 }), 'Lifetime'],
    ['expired', made({ days: -1 }), 'Dates'],
    ['not a certificate', 'nothing', 'Malformed'],
    ['two', made() + root, 'Malformed']
  ] as const) {
    t.ok(codes(pem).includes(expected), `${what}: ${codes(pem)}`)
  }
  t.strictSame(
    codes(made(), {
      publicKey: new X509Certificate(root).publicKey.export({ type: 'spki', format: 'der' })
    }),
    ['PublicKey'],
    'another key'
  )
  t.strictSame(
    codes(made({ issuer: 'other' }), { issuers: root }),
    ['Signature'],
    'attack: a CA of the same name'
  )
  t.strictSame(codes(made({ issuer: 'other' }), { issuers: root + other }), [], 'one of several')
})
