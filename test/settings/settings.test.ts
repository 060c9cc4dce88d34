import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { Value } from 'typebox/value'
import { stringify } from 'yaml'
import { problemsOf, withDefaults } from '../../src/settings/check.ts'
import { describeSettings } from '../../src/settings/describe.ts'
import { durationSeconds, durationText } from '../../src/settings/duration.ts'
import { variablesOf } from '../../src/settings/environment.ts'
import { formatNamed } from '../../src/settings/formats.ts'
import {
  errorLine,
  type LoadedSettings,
  loadSettings,
  type Settings,
  type SettingsError
} from '../../src/settings/load.ts'
import type { SchemaNode } from '../../src/settings/node.ts'
import { cpuMillicores, memoryBytes } from '../../src/settings/quantity.ts'
import { type SettingsFile, schema } from '../../src/settings/schema.ts'

const node = schema as SchemaNode

const complete = `
injection:
  image: registry.example/rayguard:0.1.0
  serverUrl: https://rayguard-enrollment.rayguard-system.svc
  serverCaFile: /etc/rayguard/serving/ca.crt
authority:
  certificateFile: /etc/rayguard/authority/tls.crt
  privateKeyFile: /etc/rayguard/authority/tls.key
`

function load(t: Test, text: string | Buffer, environment: Record<string, string> = {}) {
  const file = join(t.testdir({ 'config.yaml': text }), 'config.yaml')
  return loadSettings({ file, environment })
}

function settingsOf(loaded: LoadedSettings): Settings {
  if ('errors' in loaded) throw new Error(loaded.errors.map(errorLine).join('\n'))
  return loaded.settings
}

function errorsOf(loaded: LoadedSettings): SettingsError[] {
  return 'errors' in loaded ? loaded.errors : []
}

/** `path@line:column` of each error, in order. */
function placesOf(loaded: LoadedSettings): string[] {
  return errorsOf(loaded).map(
    ({ path, where }) => `${path}@${/config\.yaml:?(.*)$/.exec(where ?? '')?.[1] ?? where}`
  )
}

t.test('a small file is completed by the defaults, durations in seconds', async t => {
  const settings = settingsOf(await load(t, complete))
  t.strictSame(settings.components, ['webhook', 'enrollment'], 'both components')
  t.strictSame(settings.listen.webhook, { address: '::', port: 8443 }, 'the webhook listener')
  t.strictSame(settings.listen.enrollment, { address: '::', port: 8444 }, 'the enrollment listener')
  t.strictSame(settings.listen.ops, { address: '::', port: 8080 }, 'the ops listener')
  t.equal(settings.enrollment.lifetimeSeconds, 90 * 86_400, 'the lifetime in seconds')
  t.equal(settings.enrollment.checkSourceAddress, true, 'the source address is checked')
  t.strictSame(settings.shutdown, { drainSeconds: 5, deadlineSeconds: 25 }, 'the end in seconds')
  t.equal(settings.authority?.kind, 'pem', 'the kind of the authority')
  t.equal(settings.injection.keyAlgorithm, 'P-256', 'the key algorithm')
  t.equal(settings.kubernetes.kubeconfigFile, undefined, 'no kubeconfig')
})

t.test('all problems are reported at once, each with its place', async t => {
  const loaded = await load(
    t,
    `components: [webhook, webhook, dashboard]
listen:
  webhook:
    prot: 1
    port: 99999
  ops: { port: "8080" }
serving: 5
kubernetes:
injection:
  image: Foo
  formerImages: [a/b:1, a/b:1, 'X Y', 7]
  imagePullSecrets: none
  user: 0
authority:
  certificateFile: relative.crt
enrollment: { lifetime: 90, checkSourceAddress: yes, quota: { perPod: 1.5 } }
log: { level: loud }
foo:
`
  )
  t.strictSame(
    placesOf(loaded),
    [
      'components[2]@1:32',
      'components[1]@1:23',
      'listen.webhook.port@5:11',
      'listen.webhook.prot@4:11',
      'listen.ops.port@6:16',
      'serving@7:10',
      'kubernetes@8:12',
      'injection.image@10:10',
      'injection.formerImages[2]@11:32',
      'injection.formerImages[3]@11:39',
      'injection.formerImages[1]@11:25',
      'injection.imagePullSecrets@12:21',
      'injection.user@13:9',
      'enrollment.checkSourceAddress@16:49',
      'enrollment.lifetime@16:25',
      'enrollment.quota.perPod@16:71',
      'authority.certificateFile@15:20',
      'authority.privateKeyFile@15:3',
      'log.level@17:15',
      'foo@18:5'
    ],
    'every one with line and column'
  )
  const lines = errorsOf(loaded).map(errorLine).join('\n')
  t.match(lines, /listen\.webhook\.prot: there is no such key; did you mean port\?/, 'a near key')
  t.match(lines, /foo: there is no such key; the known ones are components, listen/, 'a far key')
  t.match(
    lines,
    /expected webhook, enrollment, preview or replacement, found "dashboard"/,
    'expected and found'
  )
})

t.test('the kind of the authority decides which keys there are', async t => {
  const file = (authority: string) => `components: [enrollment]
injection: { image: 'a/b:1' }
authority: ${authority}
`
  const problems = async (authority: string) =>
    placesOf(await load(t, file(authority))).map(place => place.replace(/@.*/, ''))
  const token = 'kind: pkcs11, certificateFile: /a, libraryFile: /b, pinFile: /c'
  t.strictSame(
    await problems(`{ ${token} }`),
    ['authority.tokenLabel', 'authority.keyLabel'],
    'token and key have to be told apart'
  )
  t.strictSame(
    await problems(`{ ${token}, slot: 7, keyId: '01', privateKeyFile: /d }`),
    ['authority.privateKeyFile'],
    'a key of another kind is none of this one'
  )
  t.strictSame(
    await problems(`{ ${token}, slot: 7, keyId: '01', sealing: { former: {} } }`),
    ['authority.sealing.keyLabel', 'authority.sealing.former.keyLabel'],
    'so have the keys that seal'
  )
  const signer = 'kind: kubernetes-csr, certificateFile: /a'
  t.strictSame(await problems(`{ ${signer} }`), ['authority.signerName'], 'a signer has a name')
  const ofSigner = settingsOf(
    await load(t, file(`{ ${signer}, signerName: example.com/ray.pods }\ntrust: shared`))
  )
  t.match(ofSigner.authority, { approve: false }, 'Rayguard approves only where it is told to')
  const same = 'signerName: a.example/b, intermediateSignerName: a.example/b'
  t.strictSame(
    await problems(`{ ${signer}, ${same} }`),
    ['authority.intermediateSignerName'],
    'attack: who approves pods approves CAs'
  )
  const issuer = (kind: string) => `kind: cert-manager, issuer: { name: a, kind: ${kind} }`
  t.strictSame(await problems(`{ ${issuer('issuer')} }`), ['authority.issuer.kind'], 'no kind')
  t.strictSame(
    await problems(`{ ${issuer('ClusterIssuer')} }`),
    ['authority.issuer.kind'],
    'attack 71: an issuer that tenants may ask too'
  )
  const accepted = `{ ${issuer('ClusterIssuer')}, issuerOpenToAllNamespaces: true }`
  const ofIssuer = settingsOf(await load(t, file(accepted)))
  t.match(ofIssuer.authority, { issuer: { group: 'cert-manager.io' } }, 'accepted')
  t.strictSame(await problems('{ kind: paper }'), ['authority.kind'], 'an unknown kind')
  t.strictSame(await problems('[]'), ['authority'], 'no section')
  const { authority } = settingsOf(await load(t, file(`{ ${token}, slot: 7, keyId: '01' }`)))
  t.match(authority, { kind: 'pkcs11', slot: 7, sessions: 3 }, 'defaults of this kind')
  const fromEnvironment = await load(t, file(`{ ${token}, keyLabel: a }`), {
    RAYGUARD_AUTHORITY_SLOT: '5'
  })
  t.match(settingsOf(fromEnvironment).authority, { slot: 5 }, 'a variable of this kind')
})

t.test('a Vault is reached as the settings say, and in no other way', async t => {
  const file = (changes: object = {}) => `components: [enrollment]
injection: { image: 'a/b:1' }
authority: ${JSON.stringify({
    kind: 'vault',
    address: 'https://vault.test:8200',
    caFile: '/ca',
    role: 'ray-pods',
    login: {},
    ...changes
  })}
`
  const { authority } = settingsOf(await load(t, file()))
  t.match(authority, { mount: 'pki', mode: 'sign', transit: undefined }, 'defaults')
  const login = { kind: 'kubernetes', role: 'rayguard', tokenFile: '/etc/rayguard/vault/token' }
  t.match(authority, { login }, 'logs in as its own pod where nothing else is said')
  const byRole = await load(t, file({ login: { kind: 'appRole', secretIdFile: '/s' } }), {
    RAYGUARD_AUTHORITY_LOGIN_ROLE_ID_FILE: '/r'
  })
  t.match(
    settingsOf(byRole).authority,
    { login: { mount: 'approle', roleIdFile: '/r' } },
    'a variable of a kind of login'
  )
  const wrong: [string, object, string][] = [
    ['attack 54: not encrypted', { address: 'http://vault.test' }, 'address'],
    ['attack 54: the metadata of a cloud', { address: 'https://169.254.169.254' }, 'address'],
    ['attack 54: the same by IPv6', { address: 'https://[fe80::1]' }, 'address'],
    ['attack 54: a path that climbs', { mount: 'pki/../sys' }, 'mount'],
    ['attack 54: a role that is a path', { role: 'a/b' }, 'role'],
    ['attack 54: an encoded path', { role: '..%2fsys' }, 'role'],
    ['no login', { login: undefined }, 'login'],
    ['a login that there is not', { login: { kind: 'github' } }, 'login.kind'],
    ['a key of another login', { login: { secretIdFile: '/s' } }, 'login.secretIdFile'],
    ['a transit without a key', { transit: {} }, 'transit.key']
  ]
  for (const [what, changes, key] of wrong) {
    const found = errorsOf(await load(t, file(changes))).map(({ path }) => path)
    t.strictSame(found, [`authority.${key}`], what)
  }
})

t.test('a value of the wrong kind is named by its kind', async t => {
  const text = `${complete}components: []\nlisten: [1]\nlog: { level: { a: 1 } }\ntrust: null\nshutdown: { drain: [] }\n`
  const messages = errorsOf(await load(t, text)).map(({ path, message }) => `${path}: ${message}`)
  t.match(messages, [
    /^components: expected at least one/,
    /^listen: expected a section .* found a list$/,
    /^trust: expected perCluster or shared, found nothing$/,
    /^shutdown\.drain: .* found a list$/,
    /^log\.level: .* found a section$/
  ])
  t.equal(messages.length, 5, 'no more than these')
})

t.test(
  'what was pasted into a file setting is never shown: it may be a key or a passphrase',
  async t => {
    const secrets = [
      'hunter2',
      '-----BEGIN PRIVATE KEY-----\\nMIGHAgEAMBMGByqGSM49\\n',
      'x'.repeat(500)
    ]
    for (const secret of secrets) {
      const loaded = await load(
        t,
        `${complete}  passphraseFile: "${secret}"\nlog: { level: "${secret}${'.'.repeat(90)}" }\n`
      )
      const lines = errorsOf(loaded).map(errorLine).join('\n')
      t.equal(errorsOf(loaded).length, 2, 'both are refused')
      t.notMatch(lines, /hunter2|MIGHAgEA|xxxx/, 'the text itself is not in the messages')
    }
  }
)

t.test('YAML that can be misread is refused with line and column', async t => {
  const cases: [string, string, RegExp][] = [
    ['a duplicate key', 'log: {}\ntrust: shared\nlog: {}\n', /3:1: this key stands .* twice/],
    ['a tab', 'log:\n\tlevel: info\n', /2:1: .*tab/],
    ['an alias', 'log: &a { level: info }\nshutdown: *a\n', /2:11: aliases are not read/],
    ['a tag', 'log: !secret x\n', /1:6: tags/],
    ['a second document', 'trust: shared\n---\ntrust: shared\n', /2:1: expected one document/],
    ['broken syntax', 'log: {\n', /2:1: is not well-formed YAML/],
    ['a merge key', 'log: { <<: { level: info } }\n', /log\.<<|"<<"/]
  ]
  for (const [what, text, expected] of cases) {
    const errors = errorsOf(await load(t, text))
      .map(errorLine)
      .join('\n')
    t.match(errors, expected, what)
  }
  const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${['b', 'c', 'd', 'e', 'f', 'g', 'h']
    .map((key, at) => `${key}: &${key} [${Array(9).fill(`*${'abcdefg'[at]}`).join(',')}]`)
    .join('\n')}\n`
  t.ok(errorsOf(await load(t, bomb)).length > 0, 'an alias bomb is refused without being unfolded')
})

t.test(
  'attack: __proto__ and constructor as keys are unknown keys and change no object',
  async t => {
    for (const key of ['__proto__', 'constructor', 'toString', 'hasOwnProperty']) {
      const loaded = await load(
        t,
        `${complete}"${key}": { polluted: true }\nlog: { "${key}": { polluted: true } }\n`
      )
      t.equal(errorsOf(loaded).length, 2, `${key} is refused in both places`)
    }
    t.notOk('polluted' in {}, 'no prototype has been changed')
  }
)

t.test('a file that is none is refused in words', async t => {
  const messages = async (content: string | Buffer) =>
    errorsOf(await load(t, content)).map(({ message }) => message)
  t.match(await messages(Buffer.from([0xff, 0xfe, 0x00])), [/UTF-8/], 'other bytes')
  t.match(await messages(`# ${'x'.repeat(300_000)}`), [/at most/], 'far too long')
  t.match(await messages('- a\n'), [/expected a section .* found a list/], 'a list')
  t.match(await messages('only text'), [/found "only text"/], 'a text')
  const absent = await loadSettings({ file: '/nonexistent/config.yaml', environment: {} })
  t.match(
    errorsOf(absent),
    [{ where: '/nonexistent/config.yaml', message: /found none/ }],
    'absent'
  )
  const folder = await loadSettings({ file: t.testdir({}), environment: {} })
  t.match(errorsOf(folder), [{ message: /EISDIR/ }], 'a directory')
})

t.test('every key has a variable, which wins over the file', async t => {
  const settings = settingsOf(
    await load(t, `${complete}listen: { webhook: { port: 1 } }\n`, {
      RAYGUARD_LISTEN_WEBHOOK_PORT: '9443',
      RAYGUARD_COMPONENTS: 'webhook',
      RAYGUARD_INJECTION_FORMER_IMAGES: 'a/b:1, a/b:2',
      RAYGUARD_INJECTION_IMAGE_MIRRORS: '',
      RAYGUARD_ENROLLMENT_CHECK_SOURCE_ADDRESS: 'false',
      RAYGUARD_ENROLLMENT_LIFETIME: '1d12h',
      RAYGUARD_CONFIG: '/elsewhere'
    })
  )
  t.equal(settings.listen.webhook.port, 9443, 'a number')
  t.strictSame(settings.components, ['webhook'], 'a list of one')
  t.strictSame(settings.injection.formerImages, ['a/b:1', 'a/b:2'], 'a list of two')
  t.strictSame(settings.injection.imageMirrors, [], 'an empty list')
  t.equal(settings.enrollment.checkSourceAddress, false, 'a boolean')
  t.equal(settings.enrollment.lifetimeSeconds, 129_600, 'a duration')

  const names = variablesOf(node).map(({ name }) => name)
  t.equal(new Set(names).size, names.length, 'no two keys share a variable')
  t.ok(names.includes('RAYGUARD_SERVING_CERTIFICATE_FILE'), 'words of a key are divided')
})

t.test('the environment alone can say everything', async t => {
  const settings = settingsOf(
    await loadSettings({
      environment: {
        RAYGUARD_COMPONENTS: 'enrollment',
        RAYGUARD_INJECTION_IMAGE: 'rayguard:1',
        RAYGUARD_AUTHORITY_CERTIFICATE_FILE: '/a.crt',
        RAYGUARD_AUTHORITY_PRIVATE_KEY_FILE: '/a.key'
      }
    })
  )
  t.match(
    settings.authority,
    { kind: 'pem', certificateFile: '/a.crt' },
    'a section that no file has'
  )
})

t.test(
  'a wrong or misspelt variable is refused, and those that the kubelet makes are not',
  async t => {
    const loaded = await load(t, complete, {
      RAYGUARD_LOG_LEVEL: 'loud',
      RAYGUARD_LISTEN_OPS_PORT: 'http',
      RAYGUARD_ENROLLMENT_SHORT_NAMES: 'yes',
      RAYGUARD_ENROLLMENT_CHECK_SOURCE_ADRESS: 'false',
      RAYGUARD_QQQQQQQQQQQQQQQQQQQ: '1',
      RAYGUARD_WEBHOOK_SERVICE_HOST: '10.0.0.1',
      RAYGUARD_WEBHOOK_SERVICE_PORT: '443',
      RAYGUARD_WEBHOOK_SERVICE_PORT_HTTPS: '443',
      RAYGUARD_ENROLLMENT_PORT: 'tcp://10.0.0.1:443',
      RAYGUARD_ENROLLMENT_PORT_443_TCP: 'tcp://10.0.0.1:443',
      RAYGUARD_ENROLLMENT_PORT_443_TCP_ADDR: '10.0.0.1',
      RAYGUARD_ENROLLMENT_PORT_443_TCP_PROTO: 'tcp',
      RAYGUARD_ENROLLMENT_PORT_443_TCP_PORT: '443',
      RAYGUARD_LISTEN_WEBHOK_PORT: '9443',
      PATH: '/bin'
    })
    t.match(errorsOf(loaded), [
      { path: 'listen.ops.port', where: 'RAYGUARD_LISTEN_OPS_PORT' },
      { path: 'enrollment.shortNames', where: 'RAYGUARD_ENROLLMENT_SHORT_NAMES' },
      { path: 'log.level', where: 'RAYGUARD_LOG_LEVEL' },
      {
        path: 'RAYGUARD_ENROLLMENT_CHECK_SOURCE_ADRESS',
        message: /did you mean RAYGUARD_ENROLLMENT_CHECK_SOURCE_ADDRESS\?/
      },
      { path: 'RAYGUARD_QQQQQQQQQQQQQQQQQQQ', message: /docs\/settings\.md/ },
      { path: 'RAYGUARD_LISTEN_WEBHOK_PORT', message: /RAYGUARD_LISTEN_WEBHOOK_PORT\?/ }
    ])
    t.equal(errorsOf(loaded).length, 6, 'no more than these')
  }
)

t.test(
  'a variable beneath something that is no section does not hide the mistake in the file',
  async t => {
    const loaded = await load(t, `${complete}log: loud\n`, { RAYGUARD_LOG_LEVEL: 'info' })
    t.strictSame(placesOf(loaded), ['log@9:6'], 'the file is at fault')
    const list = await load(t, '- 1\n', { RAYGUARD_LOG_LEVEL: 'info' })
    t.strictSame(placesOf(list), ['@1:1'], 'the whole file is')
  }
)

t.test('rules between settings', async t => {
  const paths = async (text: string) => errorsOf(await load(t, text)).map(({ path }) => path)
  t.strictSame(
    await paths('injection: { image: a }\n'),
    ['authority'],
    'each component needs its settings'
  )
  t.strictSame(
    await paths('components: [webhook]\ninjection: { image: a }\nserving: { kind: files }\n'),
    ['injection.serverCaFile'],
    'nobody publishes the CA for pods where the pair comes from files'
  )
  t.strictSame(
    await paths(
      `${complete}serving: { certificateFile: /a, privateKeyFile: /b }\nregistration: { caBundleFile: /c }\n`
    ),
    ['serving.certificateFile', 'serving.privateKeyFile', 'registration.caBundleFile'],
    'a file that would not be read'
  )
  const one = 'kind: kubernetes-csr, certificateFile: /a, signerName: a.example/b'
  const both = `{ ${one}, intermediateSignerName: a.example/c }`
  const clients = `injection: { image: a }\nauthority: ${both}\nclientCertificates: { enabled: true }\n`
  t.strictSame(
    await paths(`${clients}trust: shared\n`),
    ['clientCertificates.enabled'],
    'a signer elsewhere signs no clients'
  )
  t.strictSame(await paths(clients), [], 'the CA of a RayCluster does, whoever has signed that')
  const pods = `injection: { image: a, serverCaFile: /b }\nauthority: { ${one} }\n`
  t.strictSame(
    await paths(pods),
    ['authority.intermediateSignerName'],
    'a CA for each RayCluster needs a signer of CAs'
  )
  t.strictSame(await paths(`${pods}trust: shared\n`), [], 'with one for all there is none')
  t.strictSame(await paths(`${pods}components: [webhook]\n`), [], 'nor where nothing is signed')
  t.strictSame(
    await paths('components: [enrollment]\ninjection: { image: a }\n'),
    ['authority'],
    'the enrollment component needs an authority'
  )
  t.strictSame(
    await paths(`${complete}listen: { ops: { port: 8443 }, enrollment: { port: 8443 } }\n`),
    ['listen.enrollment.port', 'listen.ops.port'],
    'ports are different'
  )
  t.strictSame(
    await paths(`${complete}components: [webhook]\nlisten: { enrollment: { port: 8443 } }\n`),
    [],
    'but the port of what is not served does not count'
  )
  t.strictSame(
    await paths(`${complete}listen: { ops: { port: 0 }, enrollment: { port: 0 } }\n`),
    [],
    'any free port is a port of its own'
  )
  t.strictSame(
    await paths(`${complete}shutdown: { drain: 30s }\n`),
    ['shutdown.deadline'],
    'the deadline comes after the drain'
  )
})

t.test('what a namespace may choose lies around the lifetime itself', async t => {
  const bounds = async (text: string) =>
    settingsOf(await load(t, `${complete}enrollment: { ${text} }\n`)).enrollment.namespaceLifetime
  const day = 86_400
  t.strictSame(
    await bounds(''),
    { shortestSeconds: day, longestSeconds: 90 * day },
    'by default it can only shorten it, to a day'
  )
  t.strictSame(await bounds('lifetime: 12h'), {
    shortestSeconds: day / 2,
    longestSeconds: day / 2
  })
  t.strictSame(await bounds('namespaceLifetime: { shortest: 1h, longest: 365d }'), {
    shortestSeconds: 3600,
    longestSeconds: 365 * day
  })
  for (const [key, text] of [
    ['shortest', 'lifetime: 30d, namespaceLifetime: { shortest: 31d }'],
    ['longest', 'namespaceLifetime: { longest: 30d }']
  ]) {
    const errors = errorsOf(await load(t, `${complete}enrollment: { ${text} }\n`))
    t.match(errors, [{ path: `enrollment.namespaceLifetime.${key}` }], `${text}`)
  }
  const withSigner = `${complete.split('authority:')[0]}trust: shared
authority: { kind: kubernetes-csr, certificateFile: /ca.crt, signerName: example.com/pods }
`
  for (const [key, text] of [
    ['lifetime', 'lifetime: 9m'],
    ['namespaceLifetime.shortest', 'namespaceLifetime: { shortest: 9m }']
  ]) {
    const found = await load(t, `${withSigner}enrollment: { ${text} }\n`)
    t.match(errorsOf(found), [{ path: `enrollment.${key}` }], `a signer of the cluster: ${text}`)
  }
  t.same(errorsOf(await load(t, `${withSigner}enrollment: { lifetime: 10m }\n`)), [])
})

t.test('attack: the audience of the API server itself is refused', async t => {
  const withAudience = (audience: string) =>
    load(t, `${complete}enrollment: {audience: '${audience}'}\n`)
  for (const audience of [
    'https://kubernetes',
    'https://kubernetes.default.svc',
    'https://kubernetes.default.svc.cluster.local',
    'HTTPS://kubernetes.default:443/'
  ])
    t.match(errorsOf(await withAudience(audience)), [{ path: 'enrollment.audience' }], audience)
  t.same(errorsOf(await withAudience('https://kubernetes-rayguard.example')), [], 'another host')
})

t.test('each format takes what it should and nothing like it', async t => {
  const cases: Record<string, { yes: string[]; no: string[] }> = {
    'known-image': {
      yes: ['rayproject/ray', 'rayproject/ray*=1000', 'registry.test:5000/a/b=1'],
      no: ['', '*', 'a=0', 'a=', 'a=x', 'a**', 'a b', '=1']
    },
    path: { yes: ['/a', '/a/b.c'], no: ['', 'a', './a', '/', '/a/', '/a\0b'] },
    'ip-address': {
      yes: ['0.0.0.0', '::', 'fd00::1'],
      no: ['', 'localhost', '1.2.3', 'fe80::1%eth0']
    },
    'dns-name': {
      yes: ['cluster.local', 'a'],
      no: ['', 'Cluster.local', 'a..b', '-a', `${'a'.repeat(64)}.b`, 'a.', '1', 'a.1']
    },
    'object-name': { yes: ['regcred', 'a.b-c', '1'], no: ['', 'A', 'a_b', '*'] },
    image: {
      yes: [
        'rayguard',
        'rayguard:1',
        'a/b/c:v1.2_3-x',
        'localhost:5000/a',
        'registry.example:5000/a/b:1',
        '[fd00::1]:5000/a',
        `registry.example/a@sha256:${'0a'.repeat(32)}`,
        `registry.example/a:1@sha256:${'0a'.repeat(32)}`
      ],
      no: [
        '',
        'A',
        'a b',
        'a:',
        'a:b:c',
        'a@sha256:abc',
        `a@md5:${'0a'.repeat(16)}`,
        'a//b',
        'https://registry.example/a',
        '-a',
        'registry.example:port/a',
        `a/${'b'.repeat(600)}`
      ]
    },
    'https-url': {
      yes: [
        'https://a',
        'https://a.b:8444',
        'https://a/',
        'https://10.0.0.1:443',
        'https://[fd00::1]:8444'
      ],
      no: [
        '',
        'http://a',
        'https://',
        'https://a/b',
        'https://a?b',
        'https://a#b',
        'https://u:p@a',
        'https://a:99999',
        'a'
      ]
    },
    label: {
      yes: ['pods-ca', 'two words', 'a'.repeat(64)],
      no: ['', ' a', 'a ', 'a\nb', 'a'.repeat(65)]
    },
    hexadecimal: { yes: ['01', 'a1B2'], no: ['', '1', '0x01', '01 02', 'zz', '00'.repeat(65)] },
    audience: { yes: ['rayguard', 'https://x/y'], no: ['', 'a b', 'ä', 'a'.repeat(257)] },
    lifetime: {
      yes: ['1h', '90d', '3650d'],
      no: ['4m59s', '3651d', '', '90', 'd', '1h1d', '-1h', '1.5h']
    },
    'signer-name': {
      yes: ['example.com/ray-pods', 'a.b/c.d', 'kubernetes.io.example/x'],
      no: [
        ...['', 'a/b', 'a.b', 'a.b/', 'A.b/c', 'a.b/c/d', 'a.b/c_d', 'a.b/.c'],
        ...['kubernetes.io/kubelet-serving', 'x.kubernetes.io/y']
      ]
    },
    kind: { yes: ['Issuer', 'AWSPCAIssuer'], no: ['', 'issuer', 'Is-suer', 'A'.repeat(64)] },
    'vault-path': {
      yes: ['pki', 'team/pki', 'a-b_c.d/e'],
      no: ['', '/pki', 'pki/', 'a//b', '../sys', 'a/../b', 'a b', 'a?b', `${'a'.repeat(257)}`]
    },
    'vault-name': { yes: ['ray-pods', 'a.b_c'], no: ['', 'a/b', '..', 'a b', 'ä'] },
    interval: { yes: ['5s', '1m', '1d'], no: ['4s', '25h', '1'] },
    'client-lifetime': { yes: ['1h', '12h', '30d'], no: ['59m', '31d', '12'] },
    drain: { yes: ['0s', '5s', '5m'], no: ['6m', 'now'] },
    deadline: { yes: ['1s', '10m'], no: ['0s', '11m'] },
    cpu: { yes: ['10m', '500m', '1', '0.5', '1.25'], no: ['', '9m', '0', 'm', '1k', '1,5', '-1'] },
    memory: {
      yes: ['64Mi', '128Mi', '1Gi', '1G', '134217728'],
      no: ['', '63Mi', '128m', '128mi', '1.5Gi', 'Mi', '1Ti']
    }
  }
  for (const [name, { yes, no }] of Object.entries(cases)) {
    for (const text of yes) t.ok(formatNamed(name).accepts(text), `${name} takes ${text}`)
    for (const text of no)
      t.notOk(formatNamed(name).accepts(text), `${name} refuses ${text.slice(0, 70)}`)
  }
  t.throws(() => formatNamed('toString'), 'there is no other format')
  const used = variablesOf(node).flatMap(
    ({ node: leaf }) => leaf.format ?? leaf.items?.format ?? []
  )
  t.strictSame(
    [...new Set(used)].sort(),
    Object.keys(cases).sort(),
    'every format that is used is tried here'
  )
})

t.test('durations and quantities', async t => {
  fc.assert(
    fc.property(fc.nat(400_000_000), seconds => durationSeconds(durationText(seconds)) === seconds),
    { numRuns: 500 }
  )
  t.equal(durationText(0), '0s', 'nothing is 0 s')
  t.equal(durationSeconds('1d1h1m1s'), 90_061, 'all units')
  t.equal(cpuMillicores('1.5'), 1500, 'cores')
  t.equal(memoryBytes('1Gi'), 2 ** 30, 'binary units')
})

const arbitraryText = {
  path: fc.constantFrom('/a', '/b/c.crt', '/with space/x'),
  'ip-address': fc.oneof(fc.ipV4(), fc.ipV6()),
  'dns-name': fc.constantFrom('cluster.local', 'a', 'x-1.y'),
  'object-name': fc.constantFrom('a', 'registry-credentials'),
  image: fc.constantFrom('a', 'r.example:5000/a/b:1', `a@sha256:${'ab'.repeat(32)}`),
  'https-url': fc.constantFrom('https://a', 'https://b.c:8444'),
  audience: fc.constantFrom('rayguard', 'x'),
  label: fc.constantFrom('pods-ca', 'two words'),
  hexadecimal: fc.constantFrom('01', 'a1b2'),
  'signer-name': fc.stringMatching(/^example\.com\/[a-z]{12}$/),
  kind: fc.constantFrom('Issuer', 'GoogleCASIssuer'),
  'vault-path': fc.constantFrom('pki', 'team/pki'),
  'vault-name': fc.constantFrom('ray-pods', 'a'),
  'known-image': fc.constantFrom('rayproject/ray*=1000', 'a'),
  lifetime: fc.integer({ min: 3600, max: 3650 * 86_400 }).map(durationText),
  interval: fc.integer({ min: 5, max: 86_400 }).map(durationText),
  'client-lifetime': fc.integer({ min: 3_600, max: 2_592_000 }).map(durationText),
  drain: fc.integer({ min: 0, max: 20 }).map(durationText),
  deadline: fc.integer({ min: 21, max: 600 }).map(durationText),
  cpu: fc.constantFrom('10m', '1'),
  memory: fc.constantFrom('64Mi', '1Gi')
} as Record<string, fc.Arbitrary<string>>

/** Valid values, each optional key there or not. */
function arbitrary(node: SchemaNode): fc.Arbitrary<unknown> {
  if (node.enum) return fc.constantFrom(...node.enum)
  if (node.const !== undefined) return fc.constant(node.const)
  if (node.anyOf) return fc.oneof(...node.anyOf.map(arbitrary))
  if (node.properties) {
    const members = Object.entries(node.properties).map(([key, child]) => [key, arbitrary(child)])
    const needed = [
      'injection',
      'authority',
      'kind',
      'libraryFile',
      'tokenLabel',
      'keyLabel',
      'pinFile',
      'signerName',
      'intermediateSignerName',
      'address',
      'caFile',
      'role',
      'login',
      'tokenFile',
      'roleIdFile',
      'secretIdFile',
      'key',
      'issuer',
      'name',
      'image',
      'serverUrl',
      'serverCaFile',
      'certificateFile',
      'privateKeyFile'
    ]
    const requiredKeys = Object.keys(node.properties).filter(key => needed.includes(key))
    return fc.record(Object.fromEntries(members) as Record<string, fc.Arbitrary<unknown>>, {
      requiredKeys
    })
  }
  if (node.items)
    return fc.uniqueArray(arbitrary(node.items), { minLength: node.minItems ?? 0, maxLength: 3 })
  if (node.type === 'boolean') return fc.boolean()
  // Port 0 never meets another one.
  if (node.type === 'integer')
    return node.maximum === 65535
      ? fc.constant(0)
      : fc.integer({ min: node.minimum ?? 0, max: node.maximum ?? 9 })
  return arbitraryText[node.format ?? ''] ?? fc.string()
}

t.test(
  'property: what is right is loaded, and reading it again from its own text changes nothing',
  async t => {
    const file = join(t.testdir({}), 'config.yaml')
    await fc.assert(
      fc.asyncProperty(arbitrary(node).map(asWhole), async value => {
        await writeFile(file, stringify(value))
        const first = settingsOf(await loadSettings({ file, environment: {} }))
        await writeFile(file, JSON.stringify(asWritten(first)))
        t.strictSame(settingsOf(await loadSettings({ file, environment: {} })), first)
      }),
      { numRuns: 60 }
    )
  }
)

/** What is an error beside another value is left out: files that are not read, clients where the signer knows none. */
function asWhole(value: unknown): unknown {
  const { enrollment, clientCertificates, ...settings } = value as {
    enrollment?: Partial<SettingsFile['enrollment']>
    clientCertificates?: Partial<SettingsFile['clientCertificates']>
    trust?: SettingsFile['trust']
    serving?: object
    registration?: object
  }
  const { enabled: _, ...disabled } = clientCertificates ?? {}
  const clients = settings.trust === 'shared' ? disabled : clientCertificates
  return {
    ...withKind(settings),
    ...(enrollment && { enrollment: inOrder(enrollment) }),
    ...(clients && { clientCertificates: clients })
  }
}

/** The three lifetimes from short to long. */
function inOrder({
  lifetime = '90d',
  namespaceLifetime = {},
  ...rest
}: Partial<SettingsFile['enrollment']>) {
  const { shortest, longest } = namespaceLifetime
  const [first = '', second = '', third = ''] = [
    shortest ?? lifetime,
    lifetime,
    longest ?? lifetime
  ].sort((one, other) => (durationSeconds(one) ?? 0) - (durationSeconds(other) ?? 0))
  return { ...rest, lifetime: second, namespaceLifetime: { shortest: first, longest: third } }
}

function withKind(settings: { serving?: object; registration?: object }): object {
  if (settings.serving === undefined && settings.registration === undefined) return settings
  return { ...settings, serving: { ...settings.serving, kind: 'files' } }
}

/** Settings as a file would say them. */
function asWritten(settings: Settings): SettingsFile {
  const { enrollment, replacement, clientCertificates, shutdown, ...rest } = settings
  const { lifetimeSeconds: clientSeconds, ...clients } = clientCertificates
  const { lifetimeSeconds, namespaceLifetime, ...others } = enrollment
  const { shortestSeconds, longestSeconds } = namespaceLifetime
  return {
    ...rest,
    enrollment: {
      ...others,
      lifetime: durationText(lifetimeSeconds),
      namespaceLifetime: {
        shortest: durationText(shortestSeconds),
        longest: durationText(longestSeconds)
      }
    },
    replacement: {
      ahead: durationText(replacement.aheadSeconds),
      heads: replacement.heads,
      interval: durationText(replacement.intervalSeconds)
    },
    clientCertificates: { ...clients, lifetime: durationText(clientSeconds) },
    shutdown: {
      drain: durationText(shutdown.drainSeconds),
      deadline: durationText(shutdown.deadlineSeconds)
    }
  }
}

t.test('property: the check agrees with the schema library on what is wrong', async t => {
  // Formats are ours alone, so that values here are right in their formats or of another type.
  const broken = fc
    .tuple(
      arbitrary(node),
      fc.nat(),
      fc.constantFrom<unknown>(null, 7.5, -1, {}, [], 'zzz/', true, ['webhook', 'webhook'])
    )
    .map(([value, at, other]) => {
      const filled = withDefaults(node, value) as Record<string, unknown>
      const variables = variablesOf(node).filter(
        ({ node: leaf }) => leaf.format === undefined && leaf.items?.format === undefined
      )
      const { path } = variables[at % variables.length] ?? { path: ['trust'] }
      let section = filled
      for (const key of path.slice(0, -1)) {
        // Of a kind that is not chosen, or of a section that may be left out.
        section[key] ??= {}
        section = section[key] as Record<string, unknown>
      }
      section[path.at(-1) ?? ''] = other
      return filled
    })
  fc.assert(
    fc.property(
      broken,
      value => (problemsOf(node, value).length === 0) === Value.Check(schema, value)
    ),
    { numRuns: 500 }
  )
  t.pass('on 500 values')
})

t.test('property: no text makes loading throw', async t => {
  const file = join(t.testdir({}), 'config.yaml')
  const mangled = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 200 }),
    fc
      .tuple(fc.nat(complete.length), fc.string({ unit: 'grapheme', maxLength: 3 }))
      .map(([at, text]) => complete.slice(0, at) + text + complete.slice(at + text.length))
  )
  await fc.assert(
    fc.asyncProperty(mangled, async text => {
      await writeFile(file, text)
      const loaded = await loadSettings({ file, environment: {} })
      for (const error of errorsOf(loaded))
        if (errorLine(error) === '') throw new Error('an empty message')
    }),
    { numRuns: 200 }
  )
  t.pass('on 200 texts')
})

t.test('docs/settings.md is what the schema says', async t => {
  const file = new URL('../../docs/settings.md', import.meta.url)
  t.equal(
    await readFile(file, 'utf8'),
    describeSettings(),
    'write describeSettings() into it when it is not'
  )
  for (const { path, node: leaf } of variablesOf(node))
    t.ok(leaf.description, `${path.join('.')} is described`)
})
