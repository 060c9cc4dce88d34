import { createPrivateKey, X509Certificate } from 'node:crypto'
import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer as createPlainServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { CheckCode } from '../../src/agent/certificates.ts'
import { encodePem } from '../../src/x509/pem.ts'
import { newPlace, optionsFor, podIPs, run, token } from '../support/agent-run.ts'
import {
  type Answer,
  answers,
  issues,
  refuses,
  type StandInOptions,
  startEnrollmentStandIn
} from '../support/enrollment-stand-in.ts'
import {
  day,
  fromNow,
  issue,
  minute,
  newAuthority,
  newKey
} from '../support/hand-made-certificates.ts'

const oneSecond = 1000
const namesRequired = (names: object): Answer =>
  answers(409, { code: 'NamesRequired', message: '', requestId: 'request-9', ...names })
const podNames = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1', ...podIPs] }

async function standIn(t: Test, options?: StandInOptions) {
  const server = await startEnrollmentStandIn(options)
  t.teardown(server.close)
  return server
}

t.test('A pod that asks gets a whole set that its own key belongs to', async t => {
  const server = await standIn(t)
  const place = newPlace(t)
  const { outcome, sleeps } = await run(optionsFor(server, place))

  t.equal(outcome?.kind, 'issued', 'the first try is enough')
  t.same(sleeps, [], 'nothing is waited for')
  t.same(
    readdirSync(place.directory).sort(),
    ['ca.crt', 'tls.crt', 'tls.key'],
    'three files, no more'
  )
  const read = (name: string) => readFileSync(join(place.directory, name), 'utf8')
  const key = read('tls.key')
  const leaf = new X509Certificate(read('tls.crt'))
  t.match(key, /^-----BEGIN PRIVATE KEY-----/, 'the key is PKCS#8')
  t.ok(leaf.checkPrivateKey(createPrivateKey(key)), 'key and certificate belong together')
  t.ok(leaf.verify(new X509Certificate(read('ca.crt')).publicKey), 'the trust anchor signed it')
  t.equal(read('ca.crt'), server.pods.certificate, 'the anchor is the one that was answered')
  const [received] = server.received
  t.match(received, { method: 'POST', path: '/v1/certificates', token, names: undefined })
  t.same(received?.body.podIPs, podIPs, 'the pod says which addresses it sees')
})

t.test('Every algorithm makes a key of its kind in the pod', async t => {
  const server = await standIn(t)
  for (const [keyAlgorithm, kind, size] of [
    ['P-256', 'ec', 'prime256v1'],
    ['P-384', 'ec', 'secp384r1'],
    ['RSA-2048', 'rsa', 2048]
  ] as const) {
    const place = newPlace(t)
    const { outcome } = await run(optionsFor(server, place, { keyAlgorithm }))
    const key = createPrivateKey(readFileSync(join(place.directory, 'tls.key')))
    t.equal(outcome?.kind, 'issued', `${keyAlgorithm} is issued`)
    t.equal(key.asymmetricKeyType, kind, `${keyAlgorithm} is of kind ${kind}`)
    const details = key.asymmetricKeyDetails
    t.equal(details?.namedCurve ?? details?.modulusLength, size, `${keyAlgorithm} has its size`)
  }
})

t.test(
  'attack 13, 14: not yet visible addresses are asked for again, with the token as it is then',
  async t => {
    const server = await standIn(t)
    const place = newPlace(t)
    server.answers.push(
      refuses(503, 'IPNotVisible', { 'retry-after': '2' }),
      refuses(503, 'IPMismatch'),
      refuses(503, 'TokenExpired'),
      refuses(503, 'SomethingNew', { 'retry-after': 'soon' })
    )
    const { outcome, sleeps, entries } = await run(optionsFor(server, place), {
      random: () => 1,
      meanwhile: failures => writeFileSync(place.tokenFile, `token.number.${failures}\n`)
    })
    t.equal(outcome?.kind, 'issued', 'it ends well')
    t.same(
      server.received.map(one => one.token),
      [token, 'token.number.1', 'token.number.2', 'token.number.3', 'token.number.4'],
      'each try reads the token anew'
    )
    t.equal(
      new Set(server.received.map(({ port }) => port)).size,
      5,
      'and comes by another connection, so that another replica may answer it'
    )
    t.same(sleeps, [2250, 500, 1000, 2000], 'what the server asks for, and the backoff on top')
    t.same(
      entries.map(entry => entry.code),
      ['IPNotVisible', 'IPMismatch', 'TokenExpired', 'SomethingNew'],
      'the log has the reasons'
    )
    t.equal(entries[0]?.requestId, 'request-7', 'and the request to look for')
  }
)

t.test(
  'The delay grows to ten seconds, and no server makes it longer than a minute more',
  async t => {
    const server = await standIn(t)
    server.answers.push(...Array.from({ length: 9 }, () => refuses(503, 'NotReady')))
    server.answers.push(refuses(503, 'NotReady', { 'retry-after': '86400' }))
    server.answers.push(
      refuses(503, 'NotReady', { 'retry-after': new Date(Date.now() + 30_000).toUTCString() })
    )
    const { sleeps } = await run(optionsFor(server, newPlace(t)), { random: () => 1 })
    t.same(
      sleeps.slice(0, 8),
      [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000],
      'doubled and bounded'
    )
    t.equal(sleeps[9], 70_000, 'a day is not waited for')
    t.ok((sleeps[10] ?? 0) > 35_000 && (sleeps[10] ?? 0) <= 40_000, 'a date is understood')
  }
)

t.test('A refusal of our own server ends the agent and leaves no file', async t => {
  const server = await standIn(t)
  for (const [status, code] of [
    [400, 'BadRequest'],
    [401, 'TokenNotBound'],
    [403, 'SourceAddress'],
    [422, 'KeyNotAllowed'],
    [403, 'ACodeOfALaterVersion']
  ] as const) {
    const place = newPlace(t)
    server.answers.push(refuses(status, code))
    const { outcome, sleeps } = await run(optionsFor(server, place))
    t.match(outcome, { kind: 'refused', code, requestId: 'request-7' }, `${code} is never`)
    t.same(sleeps, [], `${code} is not tried again`)
    t.same(readdirSync(place.directory), [], `${code} leaves nothing`)
  }
})

t.test('What is not an answer of ours ends nothing', async t => {
  const server = await standIn(t)
  const odd: [string, Answer][] = [
    ['a page of some proxy', answers(403, '<html>Forbidden</html>')],
    ['a refusal without a code', answers(401, { message: 'no' })],
    ['a code that is none', answers(403, { code: `${token} `, message: 'no' })],
    ['another status', refuses(404, 'NotFound')],
    ['too many requests', refuses(429, 'QuotaExceeded')],
    ['a redirection', answers(302, '', { location: 'https://elsewhere.example/' })],
    ['an empty success', answers(201, '')],
    ['a success of another kind', answers(201, '[1, 2]')],
    ['null', answers(201, 'null')],
    ['half a JSON text', answers(201, '{"certificate": "')],
    ['numbers for texts', answers(201, { certificate: 1, trustAnchors: 2 })],
    ['names without addresses', namesRequired({ dnsNames: ['localhost'] })],
    ['names that are none', namesRequired({ dnsNames: ['a b'], ipAddresses: podIPs })],
    ['names that are no texts', namesRequired({ dnsNames: [1], ipAddresses: podIPs })],
    ['a success with the wrong status', answers(200, { certificate: '', trustAnchors: '' })]
  ]
  server.answers.push(...odd.map(([, answer]) => answer))
  const { outcome, sleeps } = await run(optionsFor(server, newPlace(t)))
  t.equal(sleeps.length, odd.length, `again after each of: ${odd.map(([what]) => what).join(', ')}`)
  t.equal(outcome?.kind, 'issued', 'and in the end there is a certificate')
})

t.test('Answers that are huge, slow, cut off or silent are faults that pass', async t => {
  const server = await standIn(t)
  server.answers.push(
    answers(201, 'x'.repeat(300 * 1024)),
    (_received, reply) => {
      reply.writeHead(201, { 'content-length': '5000' })
      reply.write('{"certificate"', () => reply.socket?.destroy())
    },
    (_received, reply) => reply.socket?.destroy(),
    (_received, reply) => {
      reply.writeHead(201)
      reply.write('{')
    }
  )
  const { outcome, entries } = await run(optionsFor(server, newPlace(t)), {
    timeouts: { connect: 5000, total: 1000 }
  })
  t.same(
    entries.map(entry => entry.code),
    ['AnswerTooLarge', 'AnswerCutOff', 'AnswerCutOff', 'Timeout'],
    'each has its reason'
  )
  t.equal(outcome?.kind, 'issued', 'and none of them ends the agent')
})

t.test('A server that is away, mute or speaks plain text is asked again', async t => {
  const server = await standIn(t)
  const closed = await standIn(t)
  await closed.close()
  const code = async (url: string, timeouts = { connect: 300, total: 1000 }) => {
    const options = optionsFor({ url, serverCa: server.serverCa }, newPlace(t))
    const { outcome, entries } = await run(options, { tries: 2, timeouts })
    t.equal(outcome, undefined, 'the agent goes on')
    return entries[0]?.code
  }
  t.equal(await code(closed.url), 'Unreachable', 'nothing listens')
  t.equal(await code('https://no-such-host.invalid'), 'Unreachable', 'no such name')

  const mute = createTcpServer(() => {})
  const plain = createPlainServer((_request, reply) => reply.end('{}'))
  for (const one of [mute, plain])
    await new Promise<void>(ready => one.listen(0, '127.0.0.1', ready))
  t.teardown(() => plain.close())
  const urlOf = (one: { address(): unknown }) =>
    `https://127.0.0.1:${(one.address() as AddressInfo).port}`
  t.equal(await code(urlOf(plain)), 'Unreachable', 'no TLS')
  t.equal(await code(urlOf(mute)), 'Timeout', 'no handshake')
  mute.close()
})

t.test('attack 33: no server but that of the given CA and name is told the token', async t => {
  const server = await standIn(t)
  const other = await standIn(t)
  const misnamed = await standIn(t, { serverNames: { dnsNames: ['elsewhere.example'] } })
  const expired = await standIn(t, {
    serverNames: {
      ipAddresses: ['127.0.0.1'],
      notBefore: fromNow(-2 * day),
      notAfter: fromNow(-day)
    }
  })
  const old = await standIn(t, { maxVersion: 'TLSv1.1' })
  // What an environment could do to Node's defaults.
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
  t.teardown(() => {
    delete process.env.NODE_TLS_REJECT_UNAUTHORIZED
  })
  for (const [what, url, serverCa, code] of [
    ['another CA', other.url, server.serverCa, 'ServerCertificate'],
    ['another name', misnamed.url, misnamed.serverCa, 'ServerCertificate'],
    ['an expired certificate', expired.url, expired.serverCa, 'ServerCertificate'],
    ['TLS 1.1', old.url, old.serverCa, 'Unreachable']
  ] as const) {
    const place = newPlace(t)
    const { outcome, entries } = await run(optionsFor({ url, serverCa }, place), { tries: 2 })
    t.equal(outcome, undefined, `${what}: no certificate`)
    t.equal(entries[0]?.code, code, `${what}: ${code}`)
    t.same(readdirSync(place.directory), [], `${what}: no file`)
  }
  for (const one of [other, misnamed, expired, old]) t.same(one.received, [], 'nobody was asked')
})

t.test(
  'An intermediate of a company is enough to vouch for the server, and its root is not asked',
  async t => {
    const root = newAuthority('company root')
    const middle = newAuthority('enrollment CA', root)
    const server = await standIn(t, { serverAuthority: middle })
    t.equal(server.serverCa, middle.certificate, 'the pod knows the intermediate alone')
    const { outcome } = await run(optionsFor(server, newPlace(t)), { tries: 1 })
    t.equal(outcome?.kind, 'issued', 'issued')
    const sibling = newAuthority('enrollment CA', root)
    const foreign = optionsFor({ url: server.url, serverCa: sibling.certificate }, newPlace(t))
    t.match(await run(foreign, { tries: 1 }), { entries: [{ code: 'ServerCertificate' }] })
  }
)

t.test(
  'attack 34: the trust anchor comes with the answer and must have signed the certificate',
  async t => {
    const server = await standIn(t)
    const place = newPlace(t)
    // What a tenant could have laid there before.
    writeFileSync(join(place.directory, 'ca.crt'), newAuthority('of a tenant').certificate)
    server.answers.push(issues(server.pods, { trustAnchors: newAuthority('another').certificate }))
    const { outcome, entries } = await run(optionsFor(server, place))
    t.equal(entries[0]?.code, 'CertificateChain', 'another anchor is refused')
    t.equal(outcome?.kind, 'issued', 'the right one is taken')
    t.equal(
      readFileSync(join(place.directory, 'ca.crt'), 'utf8'),
      server.pods.certificate,
      'and stands in place of the old one'
    )
  }
)

t.test('A certificate that Ray could not use is never written', async t => {
  const server = await standIn(t)
  const { pods } = server
  const middle = newAuthority('middle', pods)
  const noAuthority = {
    ...middle,
    certificate: issue(pods, { key: middle.key, commonName: 'middle' })
  }
  const anchor = pods.certificate
  const namesake = newAuthority('pods CA').certificate
  const junk = encodePem('CERTIFICATE', Uint8Array.of(1, 2, 3))
  const privateBlock = encodePem('PRIVATE KEY', Uint8Array.of(1, 2, 3))
  const wrong: [string, Answer, CheckCode][] = [
    ['for another key', issues(pods, { key: newKey() }), 'CertificateKey'],
    [
      'of another CA',
      issues(newAuthority('pods CA'), { trustAnchors: anchor }),
      'CertificateChain'
    ],
    ['without what is between', issues(middle, { trustAnchors: anchor }), 'CertificateChain'],
    [
      'below something that is no CA',
      issues(noAuthority, { trustAnchors: anchor, chain: noAuthority.certificate }),
      'CertificateChain'
    ],
    [
      'with a chain in no order',
      issues(pods, { chain: newAuthority('stray').certificate }),
      'CertificateChain'
    ],
    ['longer than gRPC can use', issues(pods, { ballast: 8100 }), 'CertificateChain'],
    ['beside a namesake', issues(pods, { trustAnchors: anchor + namesake }), 'CertificateChain'],
    ['behind a namesake', issues(pods, { trustAnchors: namesake + anchor }), 'CertificateChain'],
    [
      'for another address',
      issues(pods, { ipAddresses: ['127.0.0.1', '10.1.2.4'] }),
      'CertificateNames'
    ],
    [
      'for half of the addresses',
      issues(pods, { ipAddresses: ['127.0.0.1', '10.1.2.3'] }),
      'CertificateNames'
    ],
    ['without localhost', issues(pods, { dnsNames: [] }), 'CertificateNames'],
    ['without 127.0.0.1', issues(pods, { ipAddresses: podIPs }), 'CertificateNames'],
    ['for servers only', issues(pods, { usages: ['server'] }), 'CertificateUsage'],
    ['for clients only', issues(pods, { usages: ['client'] }), 'CertificateUsage'],
    ['for no use', issues(pods, { usages: [] }), 'CertificateUsage'],
    ['of a CA', issues(pods, { authority: true }), 'CertificateUsage'],
    ['that has ended', issues(pods, { notAfter: fromNow(-minute) }), 'CertificateDates'],
    ['that has not begun', issues(pods, { notBefore: fromNow(minute) }), 'CertificateDates'],
    [
      'that is no certificate',
      answers(201, { certificate: junk, trustAnchors: anchor }),
      'CertificateMalformed'
    ],
    ['that is another thing', issues(pods, { chain: privateBlock }), 'CertificateMalformed'],
    ['with an anchor that is none', issues(pods, { trustAnchors: 'root' }), 'CertificateMalformed']
  ]
  const place = newPlace(t)
  server.answers.push(...wrong.map(([, answer]) => answer))
  const { outcome, entries, sleeps } = await run(optionsFor(server, place), {
    tries: wrong.length + 1,
    now: () => Date.now(),
    meanwhile: () => {
      t.same(readdirSync(place.directory), [], 'nothing is written')
    }
  })
  t.equal(sleeps.length, wrong.length, 'each one is refused')
  t.ok(Math.min(...sleeps) >= 30 * oneSecond, 'without haste')
  // The first five are in the log, of the others each change of the reason.
  const reasons = wrong
    .map(([, , code]) => code)
    .filter((code, at, all) => at < 5 || code !== all[at - 1])
  t.same(
    entries.map(entry => entry.code),
    reasons,
    'each for its own reason'
  )
  t.equal(outcome?.kind, 'issued', 'the right one in the end')
})

t.test('A chain with intermediates is taken in order and written as it was checked', async t => {
  const server = await standIn(t)
  const middle = newAuthority('middle', server.pods)
  for (const [what, trustAnchors] of [
    ['below the root', server.pods.certificate],
    ['with the intermediate itself as anchor', middle.certificate],
    ['with two anchors', `${newAuthority('old').certificate}${server.pods.certificate}`]
  ] as const) {
    const place = newPlace(t)
    server.answers.push(issues(middle, { chain: middle.certificate, trustAnchors }))
    const { outcome } = await run(optionsFor(server, place), { tries: 1 })
    t.equal(outcome?.kind, 'issued', what)
    t.match(readFileSync(join(place.directory, 'tls.crt'), 'utf8').match(/BEGIN/g), { length: 2 })
  }
})

t.test('attack 50: a clock that is wrong is named, with how much', async t => {
  const server = await standIn(t)
  for (const [clock, words] of [
    [-60 * minute, /clock of this node is 3\d\d\d s behind the server's/],
    [200 * day, /clock of this node is \d+ s ahead of the server's/]
  ] as const) {
    const place = newPlace(t)
    const { outcome, entries } = await run(optionsFor(server, place), {
      tries: 1,
      now: () => Date.now() + clock
    })
    t.equal(outcome, undefined, 'the certificate is not taken')
    t.equal(entries[0]?.code, 'CertificateDates', 'because of its dates')
    t.match(entries[0]?.message, words, 'and the node is told of its clock')
  }
  server.answers.push(issues(server.pods, { notBefore: fromNow(minute) }))
  const { entries } = await run(optionsFor(server, newPlace(t)), { tries: 1 })
  t.match(entries[0]?.message, /clock of the server says the same/, 'unless it is not the clock')

  server.answers.push((received, reply) => {
    reply.sendDate = false
    issues(server.pods, { notBefore: fromNow(minute) })(received, reply)
  })
  const silent = await run(optionsFor(server, newPlace(t)), { tries: 1 })
  t.notMatch(
    silent.entries[0]?.message,
    /clock of the server/,
    'a server without a date is no witness'
  )
})

t.test(
  'An authority that wants the names gets a request for exactly these, with the same key',
  async t => {
    const server = await standIn(t)
    server.answers.push(namesRequired(podNames))
    const place = newPlace(t)
    const { outcome, sleeps } = await run(optionsFor(server, place))
    t.equal(outcome?.kind, 'issued', 'within one try')
    t.same(sleeps, [], 'without waiting')
    const [first, second] = server.received
    t.equal(first?.names, undefined, 'the first request asks for nothing')
    t.same(second?.names, podNames, 'the second for what the server said')
    t.ok(second?.publicKey.equals(first?.publicKey as never), 'both with one key')
  }
)

t.test('Names that lack an address of the pod, or that change, are not asked for', async t => {
  const server = await standIn(t)
  const many = Array.from({ length: 400 }, (_none, at) => `name-${at}.${'long.'.repeat(6)}example`)
  server.answers.push(
    namesRequired({ ...podNames, ipAddresses: ['10.1.2.3'] }),
    namesRequired({ ...podNames, ipAddresses: ['10.9.9.9'] }),
    namesRequired(podNames),
    namesRequired({ ...podNames, dnsNames: ['localhost', 'head.team.svc'] }),
    namesRequired(podNames),
    namesRequired(podNames),
    namesRequired(podNames),
    refuses(422, 'NamesMismatch'),
    namesRequired({ ...podNames, dnsNames: many }),
    namesRequired(podNames),
    refuses(503, 'HeadNotKnown')
  )
  const { outcome, entries, sleeps } = await run(optionsFor(server, newPlace(t)))
  t.equal(outcome?.kind, 'issued', 'it ends well')
  t.equal(sleeps.length, 7, 'after seven tries that did not')
  t.same(
    entries.map(entry => entry.code),
    [
      'NamesRequired',
      'NamesRequired',
      'NamesRequired',
      'NamesRequired',
      'NamesMismatch',
      'NamesRequired',
      'HeadNotKnown'
    ],
    'each for its reason'
  )
  t.equal(server.received.at(-1)?.names, undefined, 'each try starts without names')
})

t.test(
  'attack 46: neither token nor key nor request is in the log, whatever the server says',
  async t => {
    const server = await standIn(t)
    const place = newPlace(t)
    const echo: Answer = (received, reply) =>
      answers(403, {
        code: received.token,
        message: `${received.token} ${received.body.csr}`,
        requestId: `${received.token.repeat(9)}`
      })(received, reply)
    const named: Answer = (received, reply) =>
      answers(403, {
        code: 'PodMismatch',
        message: received.token,
        requestId: received.token.repeat(9)
      })(received, reply)
    server.answers.push(echo, refuses(503, 'IPNotVisible'), named)
    const { outcome, log } = await run(optionsFor(server, place))
    t.match(outcome, { kind: 'refused', code: 'PodMismatch' }, 'it was refused in the end')
    const said = `${log}${JSON.stringify(outcome)}`
    t.notMatch(said, token, 'no token')
    t.notMatch(said, /BEGIN|MII/, 'no PEM')
    t.match(said, 'IPNotVisible', 'but the reasons')
  }
)

t.test('A token file that is missing, empty or holds something else is waited for', async t => {
  const server = await standIn(t)
  const place = newPlace(t)
  rmSync(place.tokenFile)
  const contents = ['', 'two\nlines', 'a\u0000b', 'x'.repeat(20_000), token]
  const { outcome, entries } = await run(optionsFor(server, place), {
    meanwhile: failures => writeFileSync(place.tokenFile, contents[failures - 1] ?? '')
  })
  t.equal(outcome?.kind, 'issued', 'with a token there is a certificate')
  t.same(
    entries.map(entry => entry.code),
    Array(5).fill('TokenFile'),
    'each time the file is named'
  )
  t.equal(server.received.length, 1, 'the server is asked with a token only')
})

t.test(
  'A failure that goes on is written five times, then once a minute and when it changes',
  async t => {
    const server = await standIn(t)
    server.answers.push(...Array.from({ length: 30 }, () => refuses(503, 'NotReady')))
    server.answers.push(refuses(503, 'ApiUnavailable'))
    let clock = Date.now()
    const { entries } = await run(optionsFor(server, newPlace(t)), {
      tries: 40,
      random: () => 0,
      now: () => clock,
      meanwhile: () => {
        clock += 10_000
      }
    })
    t.same(
      entries.map(entry => entry.try),
      [1, 2, 3, 4, 5, 11, 17, 23, 29, 31],
      'at ten seconds a try'
    )
  }
)

t.test('A second run keeps a pair that is right, and asks where anything is off', async t => {
  const server = await standIn(t)
  const place = newPlace(t)
  const file = (name: string) => join(place.directory, name)
  const first = await run(optionsFor(server, place))
  const serial = () => new X509Certificate(readFileSync(file('tls.crt'))).serialNumber
  const firstSerial = serial()
  const kept = await run(optionsFor(server, place))
  t.equal(kept.outcome?.kind, 'kept', 'the pair is kept')
  t.equal(first.outcome?.kind, 'issued', 'after it was issued')
  t.match(
    kept.outcome,
    { pair: { summary: { serialNumber: firstSerial.toLowerCase() } } },
    'and named'
  )
  t.equal(server.received.length, 1, 'without asking')
  t.equal(serial(), firstSerial, 'or writing')

  const overwrite = (name: string, content: string | Buffer) => {
    const { mode } = statSync(file(name))
    chmodSync(file(name), 0o600)
    writeFileSync(file(name), content)
    chmodSync(file(name), mode)
  }
  const nothing = () => {}
  const spoil: [string, () => void, object?, number?][] = [
    ['another address', nothing, { podIPs: ['10.1.2.3', 'fd00::9'] }],
    ['one address less', nothing, { podIPs: ['10.1.2.3'] }],
    ['half of its life gone', nothing, {}, 46 * day],
    ['no certificate', () => rmSync(file('tls.crt'))],
    ['an empty key', () => overwrite('tls.key', '')],
    ['another key', () => overwrite('tls.key', newKey().export({ type: 'pkcs8', format: 'pem' }))],
    ['another anchor', () => overwrite('ca.crt', newAuthority('other').certificate)],
    ['a key that others may read', () => chmodSync(file('tls.key'), 0o444)],
    ['a key of another group', nothing, { keyGroup: process.getgid?.() ?? 0 }]
  ]
  for (const [what, damage, overrides = {}, later = 0] of spoil) {
    damage()
    const before = server.received.length
    const again = await run(optionsFor(server, place, overrides), {
      now: () => Date.now() + later,
      tries: 1
    })
    t.equal(again.outcome?.kind, 'issued', `${what}: issued anew`)
    t.equal(server.received.length, before + 1, `${what}: asked for`)
    const back = await run(optionsFor(server, place))
    t.ok(back.outcome, `${what}: and then the pair is the pod's again`)
  }
  t.equal(statSync(file('tls.key')).mode & 0o7777, 0o400, 'with the key for its owner')
})

t.test('A request leaves from the address that was asked for', async t => {
  const server = await standIn(t)
  const { outcome } = await run(optionsFor(server, newPlace(t), { sourceAddress: '127.0.0.9' }))
  t.equal(outcome?.kind, 'issued', 'issued')
  t.equal(server.received[0]?.source, '127.0.0.9', 'from that address')
  const away = await run(optionsFor(server, newPlace(t), { sourceAddress: '192.0.2.1' }), {
    tries: 1
  })
  t.equal(away.entries[0]?.code, 'Unreachable', 'an address of another host cannot be used')
})
