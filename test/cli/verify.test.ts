import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createPlainHttp2, createSecureServer } from 'node:http2'
import { createServer as createHttpsServer } from 'node:https'
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import t, { type Test } from 'tap'
import { type VerificationCode, verify } from '../../src/agent/verify.ts'
import { summaries } from '../../src/cli/main-help.ts'
import { command } from '../../src/cli/verify.ts'
import {
  day,
  fromNow,
  type Issuer,
  issue,
  minute,
  newAuthority,
  newKey,
  type Wanted
} from '../support/hand-made-certificates.ts'

const podNames = { dnsNames: ['localhost'], ipAddresses: ['127.0.0.1', '::1'] }

function newPair(authority: Issuer, wanted: Partial<Wanted> = {}) {
  const key = newKey()
  return {
    certificate: issue(authority, { key, ...podNames, ...wanted }),
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    trustAnchors: authority.certificate
  }
}

type Pair = ReturnType<typeof newPair>

/** The files of the pod that verifies. */
function layOut(t: Test, pair: Pair): string {
  return t.testdir({
    'tls.crt': pair.certificate,
    'tls.key': pair.key,
    'ca.crt': pair.trustAnchors
  })
}

async function listen(t: Test, server: Server, host = '127.0.0.1'): Promise<number> {
  server.listen(0, host)
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

/** Stands in for a Ray process: gRPC's HTTP/2 over mutual TLS. */
function rayServer(pair: Pair, more: TlsOptions = {}): Server {
  const server = createSecureServer({
    cert: pair.certificate,
    key: pair.key,
    ca: pair.trustAnchors,
    requestCert: true,
    rejectUnauthorized: true,
    ...more
  })
  server.on('tlsClientError', () => {})
  server.on('sessionError', () => {})
  return server
}

/** Node ends such a connection without a word; OpenSSL sends the alert, as BoringSSL does inside gRPC. */
async function opensslServer(t: Test, version: string, clients: Issuer, own = newPair(clients)) {
  const files = mkdtempSync(join(tmpdir(), 'verify-'))
  t.teardown(() => rmSync(files, { recursive: true }))
  writeFileSync(join(files, 'ca'), clients.certificate)
  writeFileSync(join(files, 'cert'), own.certificate)
  writeFileSync(join(files, 'key'), own.key, { mode: 0o600 })
  const child = spawn(
    'openssl',
    [
      ...['s_server', '-accept', '127.0.0.1:0', `-${version}`, '-alpn', 'h2'],
      ...['-Verify', '2', '-verify_return_error', '-CAfile', 'ca', '-cert', 'cert', '-key', 'key']
    ],
    { cwd: files, stdio: ['pipe', 'pipe', 'ignore'] }
  )
  t.teardown(() => child.kill())
  let said = ''
  for await (const text of child.stdout) {
    said += text
    const port = /ACCEPT \S*:(\d+)\n/.exec(said)?.[1]
    if (port !== undefined) return { port: Number(port) }
  }
  throw new Error('openssl s_server does not listen')
}

interface Question {
  host?: string
  port: number
  name?: string
  directory: string
  timeoutMs?: number
}

async function codeOf(question: Question): Promise<VerificationCode> {
  const { host = '127.0.0.1', name = host, timeoutMs = 5000 } = question
  const { ok, code } = await verify({ ...question, host, name, timeoutMs, now: Date.now() })
  if (ok !== (code === 'Verified')) throw new Error('the code and the verdict differ')
  return code
}

t.test('Two pods of one CA verify each other, by address and by name', async t => {
  const authority = newAuthority('cluster CA')
  const directory = layOut(t, newPair(authority))
  const port = await listen(t, rayServer(newPair(authority)))
  const result = await verify({
    host: '127.0.0.1',
    port,
    name: '127.0.0.1',
    directory,
    timeoutMs: 5000,
    now: Date.now()
  })
  t.match(result, {
    ok: true,
    code: 'Verified',
    address: `127.0.0.1:${port}`,
    peer: { ...podNames, issuer: 'CN=cluster CA', serialNumber: /^[0-9a-f]+$/ },
    own: podNames,
    protocol: 'TLSv1.3',
    applicationProtocol: 'h2'
  })
  t.equal(await codeOf({ port, directory, name: 'localhost' }), 'Verified', 'by DNS name')
  t.equal(await codeOf({ port, directory, host: 'localhost' }), 'Verified', 'by resolved name')
  const older = await listen(t, rayServer(newPair(authority), { maxVersion: 'TLSv1.2' }))
  t.equal(await codeOf({ port: older, directory }), 'Verified', 'over TLS 1.2')
  const six = await listen(t, rayServer(newPair(authority)), '::1')
  t.equal(await codeOf({ port: six, directory, host: '::1' }), 'Verified', 'over IPv6')
})

t.test('An intermediate alone is a trust anchor, as it is to gRPC', async t => {
  const root = newAuthority('root')
  const one = newAuthority('cluster one', root)
  const two = newAuthority('cluster two', root)
  const directory = layOut(t, newPair(one))
  // Node 20 hands a server's own allowPartialTrustChain to nobody, so this side knows the root.
  const both = { ca: [root.certificate, one.certificate] }
  const port = await listen(t, rayServer(newPair(one), both))
  t.equal(await codeOf({ port, directory }), 'Verified', 'the same cluster')
  const other = await listen(t, rayServer(newPair(two), both))
  t.equal(await codeOf({ port: other, directory }), 'PeerUntrusted', 'another below the same root')
  const chained = newPair(one)
  const withRoot = {
    ...chained,
    certificate: chained.certificate + one.certificate,
    trustAnchors: root.certificate
  }
  const longer = await listen(t, rayServer({ ...withRoot, trustAnchors: root.certificate }))
  const below = layOut(t, withRoot)
  t.equal(await codeOf({ port: longer, directory: below }), 'Verified', 'a chain below a root')
})

t.test('Each way in which the server’s certificate is wrong has its code', async t => {
  const authority = newAuthority('cluster CA')
  const directory = layOut(t, newPair(authority))
  const lenient = { rejectUnauthorized: false }
  const wrong: [string, Pair, VerificationCode][] = [
    ['another CA', newPair(newAuthority('another')), 'PeerUntrusted'],
    ['another CA of the same name', newPair(newAuthority('cluster CA')), 'PeerUntrusted'],
    [
      'ended',
      newPair(authority, { notBefore: fromNow(-2 * day), notAfter: fromNow(-day) }),
      'PeerExpired'
    ],
    ['not begun', newPair(authority, { notBefore: fromNow(2 * minute) }), 'PeerNotYetValid'],
    ['for clients only', newPair(authority, { usages: ['client'] }), 'PeerUsage'],
    ['another address', newPair(authority, { ipAddresses: ['10.0.0.1'] }), 'PeerName'],
    ['no name', newPair(authority, { dnsNames: [], ipAddresses: [] }), 'PeerName'],
    [
      'an address in the subject',
      newPair(authority, { commonName: '127.0.0.1', dnsNames: [], ipAddresses: [] }),
      'PeerName'
    ]
  ]
  for (const [what, pair, code] of wrong) {
    const port = await listen(t, rayServer(pair, lenient))
    t.equal(await codeOf({ port, directory }), code, what)
  }
})

t.test('Names are compared as gRPC compares them', async t => {
  const authority = newAuthority('cluster CA')
  const directory = layOut(t, newPair(authority))
  const asked = async (wanted: Partial<Wanted>, name: string) =>
    codeOf({ port: await listen(t, rayServer(newPair(authority, wanted))), directory, name })
  const fqdn = 'raycluster-head-svc.team.svc.cluster.local'
  t.equal(await asked({ dnsNames: [fqdn] }, fqdn), 'Verified', 'the head’s full name')
  t.equal(await asked({ dnsNames: [fqdn] }, 'raycluster-head-svc'), 'PeerName', 'but no short one')
  t.equal(
    await asked({ dnsNames: ['127.0.0.1'], ipAddresses: [] }, '127.0.0.1'),
    'Verified',
    'an address as DNS name'
  )
  const subject = { commonName: 'head.example' }
  t.equal(
    await asked({ ...subject, dnsNames: [], ipAddresses: [] }, 'head.example'),
    'Verified',
    'the subject without names'
  )
  t.equal(
    await asked({ ...subject, dnsNames: [] }, 'head.example'),
    'PeerName',
    'never beside names'
  )
  t.equal(
    await asked({ ipAddresses: ['10.0.0.1'] }, '::1'),
    'PeerName',
    'an IPv6 address needs its own name'
  )
})

t.test('A server that does not accept this pod is told apart from one that is wrong', async t => {
  const authority = newAuthority('cluster CA')
  const server = newPair(authority)
  const directory = layOut(t, newPair(authority))
  for (const version of ['tls1_2', 'tls1_3']) {
    const half = await opensslServer(t, version, newAuthority('another'), server)
    t.equal(
      await codeOf({ port: half.port, directory }),
      'ClientCertificateRefused',
      `${version}: an alert`
    )
  }
  const foreign = await opensslServer(t, 'tls1_3', newAuthority('another'))
  t.equal(await codeOf({ port: foreign.port, directory }), 'PeerUntrusted', 'both ways: ours first')
  const hangsUp = createTlsServer(
    { cert: server.certificate, key: server.key, ALPNProtocols: ['h2'] },
    socket => socket.end()
  )
  const port = await listen(t, hangsUp)
  t.equal(await codeOf({ port, directory }), 'ClientCertificateRefused', 'without a word')
})

t.test('What is no Ray port is called what it is', async t => {
  const authority = newAuthority('cluster CA')
  const { certificate: cert, key } = newPair(authority)
  const directory = layOut(t, newPair(authority))
  const plain = await listen(t, createPlainHttp2())
  t.equal(await codeOf({ port: plain, directory }), 'Plaintext', 'gRPC without TLS')
  const words = createTcpServer(socket => {
    socket.once('data', data =>
      data[0] === 0x16 ? socket.destroy() : socket.end('HTTP/1.1 400 \r\n\r\n')
    )
  })
  t.equal(
    await codeOf({ port: await listen(t, words), directory }),
    'Plaintext',
    'HTTP that hangs up on TLS'
  )
  const rude = createTcpServer(socket => socket.destroy())
  t.equal(
    await codeOf({ port: await listen(t, rude), directory }),
    'HandshakeFailed',
    'hangs up on everything'
  )
  const https = await listen(t, createHttpsServer({ cert, key }))
  t.equal(await codeOf({ port: https, directory }), 'NotHttp2', 'HTTPS alone')
  const other = createTlsServer({ cert, key, ALPNProtocols: ['h2'] }, socket => {
    socket.on('error', () => {})
    socket.write('220 mail.example ESMTP ready\r\n')
  })
  t.equal(
    await codeOf({ port: await listen(t, other), directory }),
    'NotHttp2',
    'something else over TLS'
  )
  const chooses = createTlsServer({ cert, key, ALPNCallback: () => undefined })
  chooses.on('tlsClientError', () => {})
  t.equal(
    await codeOf({ port: await listen(t, chooses), directory }),
    'NotHttp2',
    'no common protocol'
  )
  const silent = createTlsServer({ cert, key, ALPNProtocols: ['h2'] }, socket =>
    socket.on('error', () => {})
  )
  t.equal(
    await codeOf({ port: await listen(t, silent), directory, timeoutMs: 400 }),
    'Timeout',
    'no greeting'
  )
  const mute = createTcpServer(socket => socket.on('error', () => {}))
  t.equal(
    await codeOf({ port: await listen(t, mute), directory, timeoutMs: 200 }),
    'Timeout',
    'no handshake'
  )
  const gone = createTcpServer()
  const port = await listen(t, gone)
  await new Promise(resolve => gone.close(resolve))
  t.equal(await codeOf({ port, directory }), 'ConnectionRefused', 'nothing listens')
  t.equal(
    await codeOf({ port, directory, host: 'no-such-host.invalid' }),
    'NameNotResolved',
    'no such host'
  )
})

t.test('The pod’s own files are looked at first', async t => {
  const authority = newAuthority('cluster CA')
  const pair = newPair(authority)
  const spoilt: [string, Partial<Pair>, VerificationCode][] = [
    ['no certificate', { certificate: 'none' }, 'OwnFiles'],
    ['no key', { key: 'none' }, 'OwnFiles'],
    ['no anchor', { trustAnchors: 'none' }, 'OwnCertificate'],
    ['another key', { key: newPair(authority).key }, 'OwnCertificate'],
    ['another CA', { trustAnchors: newAuthority('another').certificate }, 'OwnCertificate'],
    ['ended', newPair(authority, { notAfter: fromNow(-minute) }), 'OwnCertificate']
  ]
  for (const [what, spoil, code] of spoilt) {
    t.equal(await codeOf({ port: 1, directory: layOut(t, { ...pair, ...spoil }) }), code, what)
  }
  const directory = layOut(t, pair)
  rmSync(join(directory, 'tls.key'))
  const result = await verify({
    host: 'h',
    port: 1,
    name: 'h',
    directory,
    timeoutMs: 1,
    now: Date.now()
  })
  t.match(result, { ok: false, code: 'OwnFiles', message: /tls\.key/ }, 'the missing file is named')
  // A client certificate of another tool has no names of a pod, and needs none.
  const clientOnly = layOut(
    t,
    newPair(authority, { dnsNames: [], ipAddresses: [], usages: ['client'] })
  )
  const port = await listen(t, rayServer(pair))
  t.equal(
    await codeOf({ port, directory: clientOnly }),
    'Verified',
    'a client certificate is enough'
  )
})

async function runCommand(...all: string[]) {
  let output = ''
  const sink = {
    write: (text: string) => {
      output += text
    }
  }
  const code = await command.run(all, {
    stdin: process.stdin,
    stdout: sink,
    stderr: sink,
    environment: {},
    signal: new AbortController().signal
  })
  return { code, output }
}

t.test('The command prints what was checked, as text and as JSON, and exits by it', async t => {
  const authority = newAuthority('cluster CA')
  const directory = layOut(t, newPair(authority))
  const port = await listen(t, rayServer(newPair(authority)))
  const address = `127.0.0.1:${port}`
  const good = await runCommand('--address', address, '--directory', directory)
  t.equal(good.code, 0, 'verified')
  t.match(good.output, /^ok {2}127\.0\.0\.1:\d+ {2}Verified\n/, 'in the first line')
  t.match(good.output, /localhost, 127\.0\.0\.1, ::1/, 'with the names')

  const json = await runCommand(
    '--address',
    address,
    '--directory',
    directory,
    '--name',
    'other',
    '-o',
    'json'
  )
  t.equal(json.code, 1, 'not verified')
  t.match(JSON.parse(json.output), { ok: false, code: 'PeerName', name: 'other', address })
  const text = await runCommand('--address', address, '--directory', '/nonexistent')
  t.match(text, { code: 1, output: /^FAILED .*OwnFiles\n/ }, 'text of a failure')
  const unnamed = newPair(newAuthority(''), { dnsNames: [], ipAddresses: [] })
  const bare = await listen(t, rayServer(unnamed, { rejectUnauthorized: false }))
  const other = await runCommand('--address', `127.0.0.1:${bare}`, '--directory', directory)
  t.match(other.output, /names +none/, 'a certificate without names')

  for (const wrong of [
    [],
    ['--address', 'host'],
    ['--address', 'host:0'],
    ['--address', 'host:65536'],
    ['--address', 'fd00::1:6379'],
    ['--address', 'https://host:1'],
    ['--address', address, '--timeout', '0'],
    ['--address', address, '--timeout', 'soon'],
    ['--address', address, '-o', 'yaml'],
    ['--address', address, '-o', 'constructor']
  ]) {
    await t.rejects(runCommand(...wrong), { code: 'Usage' }, wrong.join(' '))
  }
  const six = await runCommand('--address', '[::1]:1', '--directory', directory, '-o', 'json')
  t.match(JSON.parse(six.output), { address: '[::1]:1', name: '::1' }, 'an IPv6 address')
  t.equal(command.summary, summaries.verify, 'one summary')
})

t.test(
  'The program verifies from dist/, and an unreadable key is a failure of the pod',
  async t => {
    const authority = newAuthority('cluster CA')
    const directory = layOut(t, newPair(authority))
    const port = await listen(t, rayServer(newPair(authority)))
    const program = join(import.meta.dirname, '../../dist/rayguard.js')
    const start = async (...more: string[]) => {
      const child = spawn(
        process.execPath,
        [program, 'verify', '--address', `127.0.0.1:${port}`, '--directory', directory, ...more],
        { stdio: 'ignore' }
      )
      const [code] = await once(child, 'close')
      return code
    }
    t.equal(await start(), 0, 'verified')
    t.equal(await start('--name', 'elsewhere'), 1, 'not verified')
    t.equal(await start('--timeout', 'x'), 2, 'wrong option')
    writeFileSync(join(directory, 'tls.key'), '')
    chmodSync(join(directory, 'tls.key'), 0)
    t.equal(await start(), 1, 'no key')
  }
)
