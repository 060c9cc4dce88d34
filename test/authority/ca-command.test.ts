import { createPrivateKey, X509Certificate } from 'node:crypto'
import { chmodSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { Readable } from 'node:stream'
import t from 'tap'
import { command } from '../../src/cli/ca.ts'
import { caExtensions, makeCa, openWorkshop } from '../x509/openssl.ts'

const workshop = openWorkshop(t)

async function run(...parameters: string[]) {
  const output = { stdout: '', stderr: '', code: -1 }
  output.code = await command.run(parameters, {
    stdin: Readable.from([]),
    stdout: { write: text => (output.stdout += text) },
    stderr: { write: text => (output.stderr += text) },
    environment: {},
    signal: new AbortController().signal
  })
  return output
}

const mode = (...path: string[]) => statSync(workshop.path(path.join('/'))).mode & 0o777

t.test('init makes a CA that passes its own check and that of openssl', async t => {
  for (const [algorithm, key] of [
    ['P-256', /ASN1 OID: prime256v1/],
    ['P-384', /ASN1 OID: secp384r1/],
    ['RSA-2048', /Public-Key: \(2048 bit\)/]
  ] as const) {
    const directory = workshop.path(algorithm)
    const made = await run('init', '--directory', directory, '--algorithm', algorithm)
    t.equal(made.code, 0, `${algorithm} is made`)
    t.equal(made.stdout, `${directory}/ca.key\n${directory}/ca.crt\n`, 'the files are told')
    t.notMatch(made.stdout + made.stderr, /BEGIN/, 'attack 51: the key is not shown')
    t.strictSame(readdirSync(directory).sort(), ['ca.crt', 'ca.key'], 'nothing else is left')
    t.equal(mode(algorithm, 'ca.key'), 0o600, 'attack 51: the key is its owner’s')
    t.equal(mode(algorithm), 0o700, 'and so is the directory')
    const text = workshop.run('x509', '-in', `${directory}/ca.crt`, '-noout', '-text')
    t.match(text, key, 'the key is of that kind')
    t.match(text, /CN = Rayguard CA/, 'it has the default name')
    const checked = await run('check', '--directory', directory)
    t.equal(checked.code, 0, checked.stdout)
    t.equal(checked.stdout.match(/^✓/gm)?.length, 15, 'all checks have passed')
    t.match(checked.stdout, /for 3649 days/, 'and its end is told')
    t.ok(
      workshop.judge(
        'verify',
        '-x509_strict',
        '-CAfile',
        `${directory}/ca.crt`,
        `${directory}/ca.crt`
      ).ok,
      'openssl'
    )
  }
})

t.test('init with an intermediate makes a root above it', async t => {
  const directory = workshop.path('two')
  workshop.write('passphrase', 'let me in\n')
  const passphrase = ['--passphrase-file', workshop.path('passphrase')]
  const name = 'A very long name of a CA that signs for Ray '.padEnd(64, 'x')
  const made = await run(
    'init',
    '--directory',
    directory,
    '--intermediate',
    '--name',
    name,
    '--days',
    '10',
    ...passphrase
  )
  t.equal(made.code, 0, 'made')
  t.strictSame(readdirSync(directory).sort(), ['ca.crt', 'ca.key', 'root.crt', 'root.key'], 'files')
  const verified = workshop.judge('verify', '-x509_strict', '-CAfile', 'two/root.crt', 'two/ca.crt')
  t.ok(verified.ok, `openssl ${verified.output}`)
  t.equal(new X509Certificate(workshop.read('two/ca.crt')).subject, `CN=${name}`, 'its name')
  for (const file of ['two/ca.key', 'two/root.key']) {
    t.match(workshop.read(file), /ENCRYPTED/, `${file} is encrypted`)
    const key = { key: workshop.read(file), passphrase: 'let me in' }
    t.ok(createPrivateKey(key), 'with the passphrase without its line break')
  }
  t.equal((await run('check', '--directory', directory, ...passphrase)).code, 0, 'checked')
  const without = await run('check', '--directory', directory)
  t.equal(without.code, 1, 'not without the passphrase')
  t.match(without.stdout, /✗ The private key can be read: .*passphraseFile/, 'which is said')
  const shown = await run('show', '--directory', directory)
  t.equal(shown.code, 0, 'shown')
  t.match(
    shown.stdout,
    /Issuing CA\n[\s\S]*path length +1\n[\s\S]*CA 1 above it\n[\s\S]*path length +2/,
    'both'
  )
  t.match(
    shown.stdout,
    new X509Certificate(workshop.read('two/ca.crt')).fingerprint256,
    'fingerprint'
  )
  t.match(shown.stdout, /gRPC can use it/, 'and what gRPC thinks')
})

t.test('init never overwrites and leaves nothing half made', async t => {
  const directory = workshop.path('kept')
  t.equal((await run('init', '--directory', directory)).code, 0, 'made')
  const before = workshop.read('kept/ca.key')
  const again = await run('init', '--directory', directory)
  t.equal(again.code, 1, 'not again')
  t.match(again.stderr, /ca\.key exists already/, 'which is said')
  t.equal(workshop.read('kept/ca.key'), before, 'the key is the old one')
  const wider = await run('init', '--directory', directory, '--intermediate')
  t.equal(wider.code, 1, 'nor with an intermediate')
  t.strictSame(readdirSync(directory).sort(), ['ca.crt', 'ca.key'], 'the root is taken back')
  await t.rejects(
    run('init', '--directory', workshop.path('kept/ca.key')),
    { code: /EEXIST|ENOTDIR/ },
    'a file'
  )
})

t.test('wrong options are usage errors', async t => {
  const directory = ['--directory', workshop.path('never')]
  workshop.write('empty', '\n')
  for (const parameters of [
    [],
    ['make'],
    ['init'],
    ['init', ...directory, '--algorithm', 'Ed25519'],
    ['init', ...directory, '--days', '0'],
    ['init', ...directory, '--days', '36501'],
    ['init', ...directory, '--days', '1.5'],
    ['init', ...directory, '--name', ''],
    ['init', ...directory, '--name', 'a\nb'],
    ['init', ...directory, '--name', 'a'.repeat(65)],
    ['init', ...directory, '--passphrase-file', workshop.path('nothing')],
    ['init', ...directory, '--passphrase-file', workshop.path('empty')],
    ['show', ...directory],
    ['check', ...directory],
    ['check', ...directory, '--certificate-file', 'ca.crt'],
    ['check', ...directory, '--trust', 'everybody']
  ]) {
    await t.rejects(run(...parameters), { code: 'Usage' }, parameters.join(' ') || 'nothing')
  }
  await t.rejects(run('init', '--unknown'), { code: /^ERR_PARSE_ARGS/ }, 'an unknown option')
  t.throws(() => readdirSync(workshop.path('never')), { code: 'ENOENT' }, 'nothing was made')
})

t.test(
  'check says whether a CA can sign those of RayClusters, as the default of trust needs',
  async t => {
    for (const [name, extensions, reason] of [
      ['short', ['basicConstraints=critical,CA:TRUE,pathlen:0'], /path length of the CA \(0\)/],
      [
        'constrained',
        [
          'basicConstraints=critical,CA:TRUE',
          'nameConstraints=permitted;DNS:cluster.local,permitted;DNS:localhost'
        ],
        /name constraints/
      ]
    ] as const) {
      makeCa(workshop, name, { extensions: [...extensions, ...caExtensions.slice(1)] })
      const files = ['--certificate-file', workshop.path(`${name}.crt`)]
      files.push('--private-key-file', workshop.path(`${name}.key`))
      const checked = await run('check', ...files)
      t.equal(checked.code, 1, `${name} fails`)
      const [line = ''] = checked.stdout.match(/^✗ .*$/gm) ?? []
      t.match(line, /^✗ It can sign a CA for each RayCluster .*--trust shared/, 'with a way out')
      t.match(line, reason, 'and the reason')
      t.equal((await run('check', ...files, '--trust', 'shared')).code, 0, 'enough for shared')
    }
  }
)

t.test('check and show say what is wrong with a CA of somebody else', async t => {
  const certificate = makeCa(workshop, 'bad', {
    kind: 'RSA-2048',
    extensions: [...caExtensions, 'nameConstraints=permitted;IP:10.0.0.0/255.0.0.0']
  })
  makeCa(workshop, 'other')
  const files = [
    '--certificate-file',
    workshop.path('bad.crt'),
    '--private-key-file',
    workshop.path('other.key')
  ]
  chmodSync(workshop.path('other.key'), 0o644)
  const checked = await run('check', ...files)
  t.equal(checked.code, 1, 'it fails')
  t.match(checked.stdout, /✗ No name constraints on IP addresses.*: .*gRPC/, 'attack 53')
  t.match(checked.stdout, /✗ The private key belongs to the issuing CA: .*another/, 'the key')
  t.match(checked.stderr, /warning: .*open to every user/, 'attack 51: the key is open')
  const shown = await run('show', '--certificate-file', workshop.path('bad.crt'))
  t.equal(shown.code, 1, 'show has the same opinion')
  t.match(
    shown.stdout,
    /key +RSA-2048[\s\S]*It cannot be used:\n {2}✗ /,
    'and shows it all the same'
  )
  for (const kind of ['P-521', 'Ed25519'] as const) {
    makeCa(workshop, 'kind', { kind })
    const { stdout } = await run('show', '--certificate-file', workshop.path('kind.crt'))
    t.match(stdout, kind === 'P-521' ? /key +secp521r1/ : /key +ed25519/, kind)
  }
  writeFileSync(workshop.path('junk.crt'), certificate.replace('MI', 'M!'))
  const junk = await run('show', '--certificate-file', workshop.path('junk.crt'))
  t.equal(junk.code, 1, 'junk')
  t.match(junk.stdout, /✗ A PEM block is damaged/, 'is said to be that')
})
