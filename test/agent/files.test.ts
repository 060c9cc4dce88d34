import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync
} from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { FilesError, prepareDirectory, readFiles, writeFiles } from '../../src/agent/files.ts'
import { createJournal } from '../../src/agent/journal.ts'
import { insidePod, readOptions } from '../../src/agent/options.ts'
import { writeTerminationMessage } from '../../src/agent/termination.ts'
import { agentVariables } from '../../src/contract/pod.ts'
import { newAuthority } from '../support/hand-made-certificates.ts'

const set = { key: 'the key\n', trustAnchors: 'the anchor\n', certificate: 'the certificate\n' }
const root = process.getuid?.() === 0
const ownGroup = process.getgid?.() ?? 0
const modeOf = (path: string) => statSync(path).mode & 0o7777

t.test(
  'A set is written with the modes that Ray and nobody else needs, whatever the umask',
  async t => {
    // Before the mask: the folder above it is that of other tests, too, which are not root in it.
    const directory = t.testdir()
    const before = process.umask(0o077)
    t.teardown(() => process.umask(before))
    prepareDirectory(directory, undefined)
    writeFiles(directory, set, undefined)
    t.equal(modeOf(join(directory, 'tls.key')), 0o400, 'the key is its owner’s')
    t.equal(modeOf(join(directory, 'tls.crt')), 0o644, 'the certificate is everybody’s')
    t.equal(modeOf(join(directory, 'ca.crt')), 0o644, 'the anchor is everybody’s')
    t.same(readFiles(directory, undefined), set, 'and it is read back')

    process.umask(0)
    writeFiles(directory, { ...set, key: 'another\n' }, ownGroup)
    t.equal(modeOf(join(directory, 'tls.key')), 0o440, 'with a group the key is readable by it')
    t.equal(modeOf(join(directory, 'tls.crt')), 0o644, 'an open umask opens nothing')
    t.equal(
      readFiles(directory, undefined),
      undefined,
      'a key for a group is not a key for its owner'
    )
    t.match(readFiles(directory, ownGroup), { key: 'another\n' }, 'but one for the group')
    t.same(readdirSync(directory).sort(), ['ca.crt', 'tls.crt', 'tls.key'], 'nothing else is left')
  }
)

t.test('The key goes to the group that was asked for', { skip: !root && 'needs root' }, async t => {
  const directory = t.testdir()
  prepareDirectory(directory, 12_345)
  writeFiles(directory, set, 12_345)
  t.equal(statSync(join(directory, 'tls.key')).gid, 12_345, 'the group is set')
  t.equal(statSync(join(directory, 'tls.crt')).gid, ownGroup, 'of the key alone')
  t.equal(readFiles(directory, 54_321), undefined, 'another group’s key is not ours')
})

t.test('attack 24: links planted in the directory are replaced, never followed', async t => {
  const directory = t.testdir({ tls: {}, elsewhere: { victim: 'untouched' } })
  const tls = join(directory, 'tls')
  const victim = join(directory, 'elsewhere', 'victim')
  for (const name of ['tls.key', 'ca.crt', 'tls.crt']) symlinkSync(victim, join(tls, name))
  chmodSync(victim, 0o644)
  t.equal(readFiles(tls, undefined), undefined, 'what a link leads to is not read')
  const whole = join(directory, 'elsewhere', 'whole')
  mkdirSync(whole)
  writeFiles(whole, set, undefined)
  const linked = join(directory, 'elsewhere', 'linked')
  mkdirSync(linked)
  for (const name of ['tls.key', 'ca.crt', 'tls.crt'])
    symlinkSync(join(whole, name), join(linked, name))
  t.equal(readFiles(linked, undefined), undefined, 'not even a right set')
  prepareDirectory(tls, undefined)
  writeFiles(tls, set, undefined)
  t.equal(readFileSync(victim, 'utf8'), 'untouched', 'nor written to')
  t.equal(modeOf(victim), 0o644, 'nor changed')
  for (const name of ['tls.key', 'ca.crt', 'tls.crt']) {
    t.ok(lstatSync(join(tls, name)).isFile(), `${name} is a file now`)
  }
})

t.test('attack 24: a link in place of the directory is refused', async t => {
  const directory = t.testdir({ elsewhere: {} })
  symlinkSync(join(directory, 'elsewhere'), join(directory, 'tls'))
  t.throws(() => prepareDirectory(join(directory, 'tls'), undefined), { code: 'Directory' })
  t.same(readdirSync(join(directory, 'elsewhere')), [], 'nothing was written behind it')
})

t.test('attack 25: what another container laid under our names is cleared or refused', async t => {
  const directory = t.testdir({ 'tls.crt': {} })
  prepareDirectory(directory, undefined)
  t.throws(
    () => writeFiles(directory, set, undefined),
    { code: 'Directory' },
    'a directory for a file'
  )
  t.notOk(
    readdirSync(directory).some(name => name.endsWith('.tmp')),
    'no key is left under another name'
  )
  const pipes = t.testdir({ 'ca.crt': 'x', 'tls.crt': 'x' })
  execFileSync('mkfifo', ['-m', '400', join(pipes, 'tls.key')])
  t.equal(readFiles(pipes, undefined), undefined, 'a pipe is not waited for')
})

t.test('Leftovers of a killed run are removed, and nothing else', async t => {
  const stale = '.tls.key.0123456789abcdef.tmp'
  const directory = t.testdir({ [stale]: 'old', '.tls.key.short.tmp': 'x', 'other.pem': 'x' })
  const victim = join(directory, 'other.pem')
  symlinkSync(victim, join(directory, '.ca.crt.0123456789abcdef.tmp'))
  mkdirSync(join(directory, '.tls.crt.0123456789abcdef.tmp'))
  prepareDirectory(directory, undefined)
  t.notOk(existsSync(join(directory, stale)), 'ours is gone')
  t.same(
    readdirSync(directory).sort(),
    ['.tls.crt.0123456789abcdef.tmp', '.tls.key.short.tmp', 'other.pem'],
    'others stay, links are not followed'
  )
})

t.test('A directory that cannot be used is told before anything is asked', async t => {
  const directory = t.testdir({ file: 'x' })
  const code = { code: 'Directory' }
  t.throws(() => prepareDirectory(join(directory, 'none'), undefined), code, 'missing')
  t.throws(() => prepareDirectory(join(directory, 'file'), undefined), code, 'a file')
  t.throws(() => prepareDirectory('/proc/self', undefined), code, 'not writable, even for root')
  t.throws(() => writeFiles('/proc/self', set, undefined), FilesError, 'when writing too')
  if (!root) {
    t.throws(() => prepareDirectory(directory, 1), { code: 'KeyGroup' }, 'a foreign group')
  }
})

t.test(
  'A key group that the container lacks is told by its number',
  { skip: !root && 'needs root' },
  async t => {
    const directory = t.testdir()
    chmodSync(directory, 0o777)
    // As the pod's user would: without root's right to give files away.
    process.seteuid?.(65_534)
    try {
      t.throws(() => prepareDirectory(directory, 4242), { code: 'KeyGroup', message: /4242/ })
    } finally {
      process.seteuid?.(0)
    }
    t.same(readdirSync(directory), [], 'and nothing is left')
  }
)

t.test(
  'The termination message is written into the file that the kubelet made, and only there',
  async t => {
    const directory = t.testdir({
      log: 'earlier words, longer than what comes now, and more of them'
    })
    const log = join(directory, 'log')
    const summary = { serialNumber: '0a', notAfter: '2027-01-01T00:00:00.000Z', anchorSha256: 'ff' }
    writeTerminationMessage(log, summary)
    t.same(JSON.parse(readFileSync(log, 'utf8')), summary, 'it holds the summary alone')
    writeTerminationMessage(log, { code: 'Long', message: 'é'.repeat(9000), requestId: 'r' })
    const bytes = readFileSync(log)
    t.ok(bytes.length <= 1024, 'within the kubelet’s limit for each of twelve')
    t.match(JSON.parse(bytes.toString()), { code: 'Long', requestId: 'r' }, 'and whole JSON')
    // What the kubelet cuts cannot be read: in a pod with twelve containers each has a kilobyte.
    for (const [count, kept] of [
      [1, ['trustedKeySha256', 'trustedSha256']],
      [5, ['trustedKeySha256', 'trustedSha256']],
      [9, ['trustedSha256']],
      [20, []]
    ] as const) {
      const hashes = Array.from({ length: count }, (_, at) => String(at).padStart(64, '0'))
      const words = {
        ...{ serialNumber: '0a'.repeat(20), notAfter: '2027-01-01T00:00:00.000Z' },
        ...{ anchorSha256: hashes[0] ?? '', anchorKeySha256: hashes[0] ?? '' },
        ...{ trustedSha256: hashes, trustedKeySha256: hashes }
      }
      writeTerminationMessage(log, words)
      const text = readFileSync(log, 'utf8')
      t.ok(text.length <= 1024, `${count} anchors: ${text.length} bytes`)
      const told = JSON.parse(text)
      t.match(told, { notAfter: words.notAfter, anchorKeySha256: words.anchorKeySha256 })
      const lists = Object.keys(told).filter(key => key.startsWith('trusted'))
      t.strictSame(lists.sort(), kept, `${count} anchors: and as many lists as fit`)
    }
    writeTerminationMessage(log, { code: 'Long', message: '' })
    writeTerminationMessage(join(directory, 'none'), summary)
    t.notOk(existsSync(join(directory, 'none')), 'no file is made')
    symlinkSync(log, join(directory, 'link'))
    writeTerminationMessage(join(directory, 'link'), summary)
    t.match(JSON.parse(readFileSync(log, 'utf8')), { code: 'Long' }, 'no link is followed')
    t.ok(readlinkSync(join(directory, 'link')), 'nor replaced')
  }
)

t.test('Options are read from the variables, and everything wrong is told at once', async t => {
  const serverCa = newAuthority('enrollment CA').certificate
  const good = {
    [agentVariables.serverUrl]: 'https://rayguard-enrollment.rayguard-system.svc',
    [agentVariables.serverCa]: serverCa,
    [agentVariables.podIPs]: '10.1.2.3, FD00::0005'
  }
  const { options } = readOptions(good, {})
  t.match(options, {
    podIPs: ['10.1.2.3', 'fd00::5'],
    keyAlgorithm: 'P-256',
    directory: '/etc/rayguard/tls',
    tokenFile: '/var/run/secrets/rayguard.dev/token',
    terminationLog: '/dev/termination-log'
  })
  t.equal(
    options?.url.href,
    'https://rayguard-enrollment.rayguard-system.svc/v1/certificates',
    'the path is the contract’s'
  )
  t.equal(options?.keyGroup, undefined, 'without a group the key is its owner’s')
  const full = readOptions(
    {
      ...good,
      [agentVariables.keyGroup]: '1000',
      [agentVariables.keyAlgorithm]: 'RSA-3072',
      [agentVariables.podName]: 'head',
      [agentVariables.podNamespace]: 'team'
    },
    { 'source-address': '10.1.2.3' }
  )
  t.match(full.options, {
    keyGroup: 1000,
    keyAlgorithm: 'RSA-3072',
    sourceAddress: '10.1.2.3',
    pod: 'team/head'
  })

  t.equal(readOptions({}, {}).errors?.length, 3, 'three variables are needed')
  const wrong = readOptions(
    {
      [agentVariables.serverUrl]: 'http://user:secret@host',
      [agentVariables.serverCa]: 'PEM?',
      [agentVariables.podIPs]: '10.1.2.3,here',
      [agentVariables.keyAlgorithm]: 'Ed25519',
      [agentVariables.keyGroup]: 'staff'
    },
    { directory: 'tls', 'token-file': 'token', 'termination-log': 'log', 'source-address': 'eth0' }
  )
  t.equal(wrong.errors?.length, 9, 'all nine are told')
  t.notMatch(wrong.errors?.join(), /secret/, 'without what may be a password')

  const rejects = (name: keyof typeof agentVariables, value: string) =>
    t.equal(
      readOptions({ ...good, [agentVariables[name]]: value }, {}).errors?.length,
      1,
      `${name}=${value.slice(0, 30)}`
    )
  for (const url of [
    '',
    'host',
    'https://host/path',
    'https://host/?a=b',
    'https://u@host',
    'https://host/#a'
  ]) {
    rejects('serverUrl', url)
  }
  const notACertificate = serverCa.replaceAll('CERTIFICATE', 'PRIVATE KEY')
  const empty = '-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n'
  for (const pem of ['', notACertificate, serverCa + notACertificate, empty])
    rejects('serverCa', pem)
  for (const group of ['-1', '1.5', '4294967295', '0x10', '99999999999']) rejects('keyGroup', group)
  for (const addresses of ['', ',', '10.1.2.3,', 'fe80::1%eth0', '10.1.2.300'])
    rejects('podIPs', addresses)
  t.equal(insidePod({ [agentVariables.podUid]: 'uid' }), true, 'a UID means a pod')
  t.equal(insidePod({ [agentVariables.podUid]: '' }), false, 'none means a person')
})

t.test('A line of the journal is JSON of the time, the level and what is listed', async t => {
  const lines: string[] = []
  const journal = createJournal(
    () => 0,
    line => lines.push(line)
  )
  journal.write({ level: 'info', message: 'a\nb' })
  t.same(
    lines,
    ['{"time":"1970-01-01T00:00:00.000Z","level":"info","message":"a\\nb"}\n'],
    'one line'
  )
})
