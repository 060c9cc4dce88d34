/** The signer of client certificates over a real client and watch; openssl makes the requests and judges the answers. */
import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { AuthorityError } from '../../src/authority/authority.ts'
import { openPemAuthority } from '../../src/authority/pem-authority.ts'
import { checkAnswer } from '../../src/cli/client-cert/answer.ts'
import { createMemory } from '../../src/clients/memory.ts'
import { readClientRequest } from '../../src/clients/request.ts'
import { shownUser } from '../../src/clients/shown-user.ts'
import { clientRefusals } from '../../src/contract/client-certificates.ts'
import { clientCertificateIssued } from '../../src/events/reasons.ts'
import type { KubernetesError } from '../../src/kubernetes/error.ts'
import {
  cluster,
  namespace,
  requestsOf,
  startClientStage,
  type Wishes
} from '../support/client-stage.ts'
import { rayCluster } from '../support/ray-objects.ts'
import { makeCa, openWorkshop } from '../x509/openssl.ts'

const workshop = openWorkshop(t)
const request = requestsOf(workshop)
const approvedElsewhere = {
  conditions: [{ type: 'Approved', status: 'True', reason: 'RayClientAllowed' }]
}

t.test('a user with the right gets a certificate that can do nothing but connect', async t => {
  makeCa(workshop, 'pods')
  const authority = await openPemAuthority(
    { certificateFile: workshop.path('pods.crt'), privateKeyFile: workshop.path('pods.key') },
    { clock: Date.now, random: randomBytes, pollMs: 0 }
  )
  const { answered, reviews, observed, until } = await startClientStage(t, { authority })
  const asked = request({ spec: { uid: 'u-1', expirationSeconds: 600 } })
  const { pem, conditions } = await answered(asked)
  t.match(conditions, [{ type: 'Approved', status: 'True', reason: 'RayClientAllowed' }])
  t.match(reviews, [
    {
      ...{ user: 'alice', uid: 'u-1', groups: asked.spec.groups, extra: { team: ['a'] } },
      resourceAttributes: {
        ...{ verb: 'create', group: 'ray.io', resource: 'rayclusters', namespace, name: cluster },
        subresource: 'clientcertificates'
      }
    }
  ])
  await until(() => observed.length > 0)
  t.match(observed, [{ code: 'Issued', user: 'alice', issued: { serialNumber: /^[0-9a-f]+$/ } }])

  const key = createPrivateKey(workshop.read(`${asked.metadata.name}.key`))
  const checked = checkAnswer(pem, key, Date.now())
  if ('problem' in checked) throw new Error(checked.problem)
  const seconds = (Date.parse(new X509Certificate(checked.certificate).validTo) - Date.now()) / 1000
  t.ok(seconds > 3500 && seconds <= 3600, 'an hour is the least')
  workshop.write('client.crt', checked.certificate)
  workshop.write('client-ca.crt', checked.trustAnchors)
  const judged = (purpose: string) =>
    workshop.judge(
      ...['verify', '-x509_strict', '-partial_chain', '-purpose', purpose],
      ...['-no-CApath', '-no-CAstore', '-CAfile', 'client-ca.crt', 'client.crt']
    )
  t.equal(judged('sslclient').ok, true, judged('sslclient').output)
  t.match(judged('sslserver'), { ok: false, output: /purpose/ }, 'attack: it serves')
  const text = workshop.run('x509', '-in', 'client.crt', '-noout', '-text')
  t.notMatch(text, /Subject Alternative Name|CA:TRUE|Server Auth/)
  t.match(text, /Subject: O ?= ?Rayguard, CN ?= ?Ray client\n/)

  const other = createPrivateKey(workshop.read(`${request().metadata.name}.key`))
  const [leaf = '', ...anchors] = pem.split(/(?<=-----END CERTIFICATE-----\n)/)
  workshop.write('both.cnf', 'extendedKeyUsage = serverAuth, clientAuth\n')
  workshop.run(
    ...[
      'x509',
      '-req',
      '-in',
      `${asked.metadata.name}.csr`,
      '-CA',
      'pods.crt',
      '-CAkey',
      'pods.key'
    ],
    ...['-days', '1', '-extfile', 'both.cnf', '-out', 'both.crt']
  )
  const bad: [string, string, typeof key, number][] = [
    ['attack: one that serves', workshop.read('both.crt') + anchors.join(''), key, Date.now()],
    ['it is not valid yet', pem, key, Date.now() - 600_000],
    ['another key', pem, other, Date.now()],
    ['no CA', leaf, key, Date.now()],
    ['another CA', leaf + makeCa(workshop, 'another'), key, Date.now()],
    ['it has ended', pem, key, Date.now() + 3_700_000],
    ['not a certificate', `${anchors.join('')}junk`, key, Date.now()]
  ]
  for (const [title, text, itsKey, now] of bad)
    t.match(checkAnswer(text, itsKey, now), { problem: /./ }, title)
})

t.test('what is refused, and what it is told', async t => {
  const { answered, authority, keys, decide, observed, until } = await startClientStage(t, {
    perUser: 4
  })
  const refused: [title: string, wishes: Wishes, code: string][] = [
    ['attack: a server’s name', { extensions: ['subjectAltName=DNS:head'] }, 'CsrUnexpected'],
    ['attack: an address', { extensions: ['subjectAltName=IP:10.0.0.1'] }, 'CsrUnexpected'],
    ['attack: a CA', { extensions: ['basicConstraints=critical,CA:TRUE'] }, 'CsrUnexpected'],
    ['attack: a CN that looks like a host', { subject: '/CN=head.team.svc' }, 'CsrUnexpected'],
    ['attack: another user', { subject: '/O=system:masters/CN=bob' }, 'CsrUnexpected'],
    ['no usage', { spec: { usages: [] } }, 'UsageNotAllowed'],
    ['attack: to serve', { spec: { usages: ['client auth', 'server auth'] } }, 'UsageNotAllowed'],
    ['attack: to sign', { spec: { usages: ['client auth', 'cert sign'] } }, 'UsageNotAllowed'],
    ['not base64 of a request', { spec: { request: 'AAAA' } }, 'CsrMalformed'],
    ['no request', { spec: { request: '' } }, 'CsrMalformed'],
    ['no RayCluster', { to: '' }, 'BadRequest'],
    ['attack: a path', { to: 'team/../other/demo' }, 'BadRequest'],
    ['attack: nobody', { spec: { username: '' } }, 'BadRequest']
  ]
  for (const [title, wishes, code] of refused)
    t.match(readClientRequest(request(wishes)), { allowed: false, code }, title)
  const page = readFileSync('docs/client-certificates.md', 'utf8')
  for (const code of Object.keys(clientRefusals))
    t.ok(page.includes(`\`${code}\``), `the page has ${code}`)
  const foreign = request()
  foreign.spec.request = tampered(foreign.spec.request ?? '')
  t.match(readClientRequest(foreign), { code: 'CsrSignature' }, 'attack: somebody else’s key')

  const denied = await answered(request({ subject: '/CN=head' }))
  t.match(denied, { type: 'Denied', reason: 'CsrUnexpected', message: /subject/ }, 'it is denied')

  decide(({ groups }) => (groups?.includes('ray-users') ? 201 : 403))
  const user = { username: 'bob', groups: ['others'] }
  t.match(await answered(request({ spec: user })), { reason: 'Forbidden' }, 'without the right')
  t.match(
    await answered(request({ spec: user, to: `${namespace}/none` })),
    { reason: 'Forbidden' },
    'attack: which RayClusters are there?'
  )
  t.match(await answered(request({ to: `${namespace}/none` })), { reason: 'RayClusterNotFound' })

  const ofPod = request()
  const reading = readClientRequest(ofPod)
  if (!reading.allowed) throw new Error(reading.code)
  keys.claim(reading.csr.spkiSha256, 'uid-of-a-pod')
  t.match(await answered(ofPod), { reason: 'KeyReused' }, 'attack: the key of a pod')

  const approved = { conditions: [{ type: 'Approved', status: 'True', reason: 'Person' }] }
  t.match(
    await answered({ ...request({ spec: user }), status: approved }),
    { type: 'Failed', reason: 'Forbidden' },
    'attack: approved by a person, and still without the right'
  )
  t.match(await answered(request()), { pem: /BEGIN/ }, 'the fourth of alice')
  t.match(await answered(request()), { reason: 'QuotaExceeded' }, 'and the fifth')
  t.equal(authority.issued.length, 1, 'nothing was signed but one')
  await until(() => observed.length >= 8)
  t.equal(observed.length, 8, 'each was told of once')
  t.notMatch(JSON.stringify(observed), /BEGIN|LS0t/, 'attack 46: without the request')
})

t.test('two replicas answer once', async t => {
  const { answered, authority, observed, until } = await startClientStage(t, { replicas: 2 })
  const all = await Promise.all(Array.from({ length: 8 }, () => answered(request())))
  t.ok(all.every(({ pem, conditions }) => pem !== '' && conditions?.length === 1))
  await until(() => observed.length >= 8)
  t.equal(authority.issued.length, 8, 'one signature each')
  const rayCluster = { namespace, name: cluster }
  t.match(authority.issued[0], { purpose: 'client', lifetimeSeconds: 14_400, rayCluster })
  t.match(await answered({ ...request(), status: approvedElsewhere }), { pem: /BEGIN/ })
})

t.test(
  'what another replica has approved and left is taken over, not at the first look',
  async t => {
    const { answered, standIn } = await startClientStage(t)
    const { metadata, ...rest } = request()
    const { pem } = await answered({ metadata, ...rest, status: approvedElsewhere })
    t.match(pem, /BEGIN/)
    const judged = standIn.requests.findIndex(each => /subjectaccessreviews/.test(each))
    const looks = standIn.requests
      .slice(0, judged)
      .filter(each => each.endsWith(`/${metadata.name}`))
    t.ok(looks.length > 1, 'that replica may be at work')
  }
)

t.test('what is for another signer is left alone', async t => {
  const { answered, interfere, read, standIn, until } = await startClientStage(t)
  const [foreign, ours] = [request({ spec: { signerName: 'example.com/other' } }), request()]
  standIn.put(foreign)
  const looked = `GET .*/${ours.metadata.name}`
  const count = (pattern: string) =>
    standIn.requests.filter(each => new RegExp(`${pattern}$`).test(each)).length
  const spec = { ...ours.spec, signerName: 'example.com/other' }
  interfere(({ method, path }) =>
    new RegExp(`${looked}$`).test(`${method} ${path}`)
      ? { status: 200, body: { ...read(ours.metadata.name), spec } }
      : undefined
  )
  standIn.put(ours)
  await until(() => count(looked) > 2)
  t.equal(count('PUT .*'), 0, 'attack: what the watch has shown is another one now')
  interfere(() => undefined)
  t.match(await answered(request()), { pem: /BEGIN/ })
  t.notOk(read(foreign.metadata.name)?.status, 'nobody has touched it')
})

t.test('what cannot be answered now is answered later, and counts once', async t => {
  const { answered, authority, decide, faults, until } = await startClientStage(t, { perUser: 5 })
  decide(() => 503)
  const first = answered(request())
  await until(() => faults.length > 0)
  decide(() => 201)
  t.match(await first, { pem: /BEGIN/ }, 'the API server was away')

  const before = authority.issued.length
  let away = true
  authority.bend = asked => {
    if (away) throw new AuthorityError('Unavailable', 'away')
    return asked
  }
  const second = answered(request())
  await until(() => authority.issued.length > before)
  away = false
  t.match(await second, { pem: /BEGIN/ }, 'the authority was')

  authority.bend = ({ purpose: _, ...asked }) => ({
    ...asked,
    names: { dnsNames: ['localhost'], ipAddresses: [] }
  })
  const count = faults.length
  const third = answered(request())
  await until(() => faults.length > count)
  t.match(faults.at(-1), /ExtendedKeyUsage/, 'attack: an authority that signs a server')
  authority.bend = undefined
  t.match((await third).pem, /BEGIN/, 'is not heard, and asked again')
  authority.bend = () => {
    throw new AuthorityError('Denied', 'no')
  }
  t.match(await answered(request()), { type: 'Failed', reason: 'AuthorityDenied' })
  authority.bend = () => {
    throw new AuthorityError('PodsOnly', 'no client')
  }
  const denied = await answered(request())
  t.match(denied, { type: 'Failed', reason: 'PodsOnly' }, 'one that signs for pods alone')
})

t.test(
  'attack: one user’s flood, and a request that cannot be answered, hold up nobody',
  async t => {
    const { answered, decide, faults, reviews, standIn, start, until } = await startClientStage(t, {
      unstarted: true,
      perUser: 300
    })
    let release = () => {}
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    decide(({ user }) => (user === 'mallory' ? held : user === 'unlucky' ? 503 : 201))
    const shape = request()
    const flood = Array.from({ length: 200 }, (_, index) => ({
      ...shape,
      metadata: { ...shape.metadata, name: `flood-${index}` },
      spec: { ...shape.spec, username: 'mallory' }
    }))
    for (const each of flood) standIn.put(each)
    standIn.put(request({ spec: { username: 'unlucky' } }))
    start()
    t.match(
      await answered(request()),
      { pem: /BEGIN/ },
      'alice has hers while mallory’s are at work'
    )
    await until(() => faults.length > 3)
    const asked = reviews.filter(({ user }) => user === 'mallory').length
    t.equal(asked, 2, 'of one user two are at work, however many wait')
    t.match(await answered(request()), { pem: /BEGIN/ }, 'and the one that fails each time')
    release()
  }
)

t.test(
  'what has been decided is left alone, and what is asked for is what is there now',
  async t => {
    const { answered, authority, read, standIn } = await startClientStage(t)
    const conditions = [{ type: 'Denied', status: 'True', reason: 'Person', message: 'no' }]
    const denied = standIn.put({ ...request(), status: { conditions } })
    const lifetimes: [wanted: number | undefined, got: number][] = [
      [undefined, 14_400],
      [600, 3600],
      [7200, 7200],
      [2 ** 31 - 1, 14_400]
    ]
    for (const [expirationSeconds, lifetimeSeconds] of lifetimes) {
      const spec = expirationSeconds === undefined ? {} : { expirationSeconds }
      t.match(await answered(request({ spec })), { pem: /BEGIN/ })
      t.equal(authority.issued.at(-1)?.lifetimeSeconds, lifetimeSeconds, `${expirationSeconds} s`)
    }
    t.strictSame(read(denied.metadata.name)?.status, { conditions }, 'attack: denied by a person')

    const before = authority.issued.at(-1)?.rayCluster
    t.same(before, { namespace, name: cluster, uid: rayCluster().metadata.uid })
    const ending = rayCluster()
    ending.metadata.deletionTimestamp = new Date().toISOString()
    standIn.put(ending)
    t.match(
      await answered(request()),
      { reason: 'RayClusterNotFound' },
      'one that is being deleted'
    )
    const again = rayCluster()
    again.metadata.uid = 'another-uid'
    standIn.put(again)
    t.match(await answered(request()), { pem: /BEGIN/ })
    t.match(authority.issued.at(-1)?.rayCluster, { uid: 'another-uid' }, 'another of the same name')
  }
)

t.test('attack: a user whose name is a page long, or looks like lines of its own', async t => {
  const { answered } = await startClientStage(t)
  const username = `alice\n\u2028may\u0007 not${'!'.repeat(2000)}`
  const { pem, conditions } = await answered(request({ spec: { username } }))
  t.match(pem, /BEGIN/)
  t.match(conditions, [{ message: /^alice may not!{200,250}… may connect to RayCluster/ }])
  const told = clientCertificateIssued(
    { apiVersion: 'ray.io/v1', kind: 'RayCluster', namespace, name: cluster, uid: 'u' },
    { user: shownUser(username), serialNumber: '0b', notAfter: new Date() }
  )
  t.notMatch(told.note, /\n/)
  t.ok(told.note.length < 1024, 'or the API server would take no Event')
})

t.test('a request that is withdrawn while it is judged is no fault, and is forgotten', async t => {
  for (const [title, status] of [
    ['', 404],
    ['and the API server is away then', 503]
  ] as const) {
    const memory = createMemory({ clock: () => performance.now(), againEveryMs: 10 })
    const stage = await startClientStage(t, { memory })
    const { answered, decide, faults, interfere, observed, reviews, standIn, stop, until } = stage
    let release = () => {}
    const held = new Promise<void>(resolve => {
      release = resolve
    })
    decide(({ user }) => (user === 'alice' ? held : 403))
    const { metadata } = standIn.put(request())
    await until(() => reviews.length > 0)
    standIn.remove({ ...request(), metadata })
    t.match(await answered(request({ spec: { username: 'bob' } })), { type: 'Denied' })
    const writes = RegExp(`^PUT .*/${metadata.name}/approval`)
    interfere(({ method, path }) =>
      status === 503 && writes.test(`${method} ${path}`) ? { status } : undefined
    )
    release()
    await until(() => standIn.requests.some(each => writes.test(each)))
    await stop()
    t.strictSame(
      faults.map(fault => (fault as KubernetesError).code),
      status === 503 ? ['Unavailable'] : [],
      `only what is one is told as a fault ${title}`
    )
    t.notOk(
      observed.some(({ user }) => user === 'alice'),
      'nothing was answered'
    )
    t.equal(memory.size, 0, `what is gone is not remembered ${title}`)
  }
})

t.test('what was handed out is told, also where the answer to the write was lost', async t => {
  const memory = createMemory({ clock: () => performance.now(), againEveryMs: 10 })
  const stage = await startClientStage(t, { memory })
  const { answered, authority, faults, interfere, observed, standIn, until } = stage
  const handOut = (changes: (certificate: string) => string, alsoLost = () => {}) =>
    interfere(({ method, path, body }) => {
      if (method !== 'PUT' || !path.endsWith('/status')) return undefined
      const stored = body as ReturnType<typeof request>
      const certificate = changes(stored.status?.certificate ?? '')
      alsoLost()
      standIn.put({ ...stored, status: { ...stored.status, certificate } })
      return { reset: true }
    })
  for (const [title, alsoLost] of [
    ['the write alone', () => {}],
    ['the watch, too', () => standIn.watches.dropAll()]
  ] as const) {
    observed.length = 0
    handOut(ours => ours, alsoLost)
    t.match(await answered(request()), { pem: /BEGIN/ }, `${title}: the user has it`)
    await until(() => observed.length > 0 && memory.size === 0)
    const { serialNumber } = observed[0]?.issued ?? {}
    t.match(observed, [{ code: 'Issued', user: 'alice', issued: { serialNumber: /^[0-9a-f]+$/ } }])
    t.ok(serialNumber, title)
  }
  t.equal(authority.issued.length, 2, 'each was signed once')

  observed.length = 0
  const before = faults.length
  handOut(() => Buffer.from('-----BEGIN of another replica').toString('base64'))
  t.match(await answered(request()), { pem: /another/ })
  await until(() => faults.length > before && memory.size === 0)
  t.strictSame(observed, [], 'another replica’s is for that one to tell')
})

t.test('what a replica remembers of a request', async t => {
  let now = 1000
  const memory = createMemory({ clock: () => now, againEveryMs: 10 })
  t.ok(memory.isDue('a'))
  t.notOk(memory.maySign('a'), 'another replica has approved it a moment ago')
  now += 10
  t.ok(memory.maySign('a'), 'and has ended since')
  memory.approved('b')
  t.ok(memory.maySign('b'), 'its own it signs at once')
  const pauses = Array.from({ length: 8 }, () => {
    memory.failed('b')
    let pause = 0
    for (; !memory.isDue('b'); pause += 10) now += 10
    return pause
  })
  t.strictSame(pauses, [10, 20, 40, 80, 160, 320, 320, 320])
  memory.forget('b')
  t.notOk(memory.maySign('b'), 'what has its answer is forgotten')
})

/** The same request with one bit of its signature turned. */
function tampered(text: string): string {
  const [, base64 = ''] =
    /-{5}\n([\s\S]+?)\n-{5}END/.exec(Buffer.from(text, 'base64').toString()) ?? []
  const der = Buffer.from(base64, 'base64')
  const last = der.length - 1
  der.writeUInt8(der.readUInt8(last) ^ 1, last)
  const body = der.toString('base64').replace(/.{64}/g, '$&\n')
  const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${body}\n-----END CERTIFICATE REQUEST-----\n`
  return Buffer.from(pem).toString('base64')
}
