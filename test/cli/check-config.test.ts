import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { stringify } from 'yaml'
import { command } from '../../src/cli/check-config.ts'
import { runCommand } from '../support/cli.ts'
import { openssl } from '../support/cluster-certificates.ts'
import { day, fromNow, issue, newAuthority, newKey } from '../support/hand-made-certificates.ts'

const serverCa = newAuthority('check-config CA')

interface Place {
  file(name: string): string
  write(name: string, text: string): string
  settings(changes?: Record<string, unknown>): string
}

/** A folder with everything that two components need, all of it right. */
function place(t: Test): Place {
  const folder = t.testdir({})
  const file = (name: string) => join(folder, name)
  const write = (name: string, text: string) => {
    writeFileSync(file(name), text)
    return file(name)
  }
  makeCa(folder)
  chmodSync(file('pods.key'), 0o600)
  serving(write)
  write('server-ca.crt', serverCa.certificate)
  return {
    file,
    write,
    settings: (changes = {}) =>
      write(
        'config.yaml',
        stringify({
          serving: {
            kind: 'files',
            certificateFile: file('tls.crt'),
            privateKeyFile: file('tls.key')
          },
          injection: {
            image: 'registry.test/rayguard:1',
            serverUrl: 'https://localhost:8444',
            serverCaFile: file('server-ca.crt')
          },
          authority: {
            kind: 'pem',
            certificateFile: file('pods.crt'),
            privateKeyFile: file('pods.key')
          },
          ...changes
        })
      )
  }
}

function makeCa(folder: string, pathLength = 1, more: string[] = []): void {
  openssl(
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
    ...['-subj', '/CN=pods', '-days', '400'],
    ...['-keyout', join(folder, 'pods.key'), '-out', join(folder, 'pods.crt')],
    ...['-addext', `basicConstraints=critical,CA:TRUE,pathlen:${pathLength}`],
    ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    ...more.flatMap(each => ['-addext', each])
  )
}

function serving(
  write: Place['write'],
  wanted: { dnsNames?: string[]; notBefore?: Date; notAfter?: Date } = {}
) {
  const key = newKey()
  write(
    'tls.crt',
    issue(serverCa, { key, dnsNames: ['localhost'], ipAddresses: ['127.0.0.1'], ...wanted })
  )
  write('tls.key', key.export({ type: 'pkcs8', format: 'pem' }) as string)
}

t.test('settings and files that are right', async t => {
  const { settings } = place(t)
  const { code, out, err } = await runCommand(command, [settings()])
  t.equal(err, '', 'nothing to complain of')
  t.equal(code, 0, 'exit code 0')
  t.match(out, /right for: webhook, enrollment/, 'says for what')
  t.match(out, /trust: perCluster\. The CA signs one .* not sealed/, 'and what the CA can')
  t.equal((await runCommand(command, ['--config', settings()])).code, 0, 'the file as an option')
  t.equal(
    (await runCommand(command, [], { RAYGUARD_CONFIG: settings() })).code,
    0,
    'or as a variable'
  )
})

t.test('a CA that signs no others has to be asked for as the one of all clusters', async t => {
  const { settings, file } = place(t)
  makeCa(dirname(file('pods.crt')), 0)
  const refused = await runCommand(command, [settings()])
  t.equal(refused.code, 2, 'not by default')
  t.match(refused.err, /authority: .*path length of the CA \(0\).*trust: perCluster.*trust: shared/)
  const chosen = await runCommand(command, [settings({ trust: 'shared' })])
  t.equal(chosen.code, 0, 'with trust: shared')
  t.match(
    chosen.out,
    /trust: shared\. .*it signs none for each: the path length/,
    'and it says why'
  )
})

t.test('all problems of the files at once, each with its setting', async t => {
  const { settings, write, file } = place(t)
  write('tls.key', newKey().export({ type: 'pkcs8', format: 'pem' }) as string)
  write('server-ca.crt', 'not a certificate')
  write('pods.key', 'not a key')
  const { code, out, err } = await runCommand(command, [settings()])
  t.equal(code, 2, 'exit code 2')
  t.equal(out, '', 'no praise')
  t.match(err, /^serving\.privateKeyFile: .*another key/m, 'the key of the server')
  t.match(err, /^injection\.serverCaFile: expected PEM certificates/m, 'the CA for pods')
  t.match(err, /^authority: /m, 'the authority')
  t.match(err, /^3 problems\.$/m, 'counted')
  write(
    'server-ca.crt',
    serverCa.certificate + (newKey().export({ type: 'pkcs8', format: 'pem' }) as string)
  )
  t.match(
    (await runCommand(command, [settings()])).err,
    /nothing else, found a block "PRIVATE KEY"/,
    'attack: a private key would go into every pod'
  )
  const absent = settings({
    injection: { image: 'a', serverUrl: 'https://a', serverCaFile: file('none') }
  })
  t.match(
    (await runCommand(command, [absent])).err,
    /injection\.serverCaFile: .*ENOENT/,
    'a file that is not there'
  )
})

t.test('of an authority in the cluster the file is looked at, and the risk is told', async t => {
  const { settings, write, file } = place(t)
  const authority = { kind: 'kubernetes-csr', signerName: 'a.test/b', certificateFile: '' }
  const signer = (certificateFile: string, more: object = { trust: 'shared' }) =>
    runCommand(command, [settings({ authority: { ...authority, certificateFile }, ...more })])
  t.match(await signer(file('pods.crt')), { code: 0, err: '' }, 'a CA')
  write('none.crt', 'not a certificate')
  t.match(await signer(file('none.crt')), { code: 2, err: /^authority: The CA cannot be used/ })
  t.match(
    await signer(file('pods.crt'), {}),
    { code: 2, err: /authority\.intermediateSignerName: is missing.*trust: perCluster.*shared/ },
    'a signer of CAs is needed for a CA of each RayCluster'
  )
  const both = {
    ...{ ...authority, intermediateSignerName: 'a.test/c' },
    certificateFile: file('pods.crt')
  }
  const ofBoth = () => runCommand(command, [settings({ authority: both })])
  t.match(await ofBoth(), { code: 0, out: /trust: perCluster\. The CA signs one/ }, 'there is one')
  makeCa(dirname(file('pods.crt')), 0)
  t.match(
    await ofBoth(),
    { code: 2, err: /^authority: .*path length of the CA \(0\)/ },
    'so is a CA with room for one'
  )
  const issuer = { kind: 'cert-manager', issuer: { name: 'a' } }
  t.match(await runCommand(command, [settings({ authority: issuer })]), { code: 0, err: '' })
  const open = { kind: 'cert-manager', issuer: { name: 'a', kind: 'ClusterIssuer' } }
  const accepted = { ...open, issuerOpenToAllNamespaces: true }
  t.match(
    await runCommand(command, [settings({ authority: accepted })]),
    { code: 0, err: /^warning: authority\.issuerOpenToAllNamespaces: / },
    'attack 71: a risk that was accepted is told each time'
  )
})

t.test('problems of the settings are shown before any file is looked at', async t => {
  const { settings } = place(t)
  const { code, err } = await runCommand(command, [
    settings({ trust: 'everybody', log: { level: 1 } })
  ])
  t.equal(code, 2, 'exit code 2')
  t.match(
    err,
    /config\.yaml:\d+:\d+: trust: [\s\S]*log\.level: [\s\S]*2 problems/,
    'both, with their places'
  )
})

t.test('what would show only in the first pod is a warning', async t => {
  const { settings, write } = place(t)
  const warnings = async (file: string) => {
    const { code, err } = await runCommand(command, [file])
    t.equal(code, 0, 'a warning is no problem')
    return err
  }
  serving(write, { dnsNames: ['elsewhere'] })
  t.match(
    await warnings(settings()),
    /warning: injection\.serverUrl: .*localhost.*DNS:elsewhere/,
    'a name that the certificate lacks'
  )
  const url = (serverUrl: string) => ({
    injection: {
      image: 'a',
      serverUrl,
      serverCaFile: settings().replace('config.yaml', 'server-ca.crt')
    }
  })
  t.match(
    await warnings(settings(url('https://10.0.0.1'))),
    /10\.0\.0\.1/,
    'an address that it lacks'
  )
  t.equal(await warnings(settings(url('https://127.0.0.1:8444'))), '', 'an address that it has')
  serving(write)
  write('server-ca.crt', newAuthority('another CA').certificate)
  t.match(
    await warnings(settings()),
    /warning: injection\.serverCaFile: none of these/,
    'a CA that has not signed it'
  )
  write('server-ca.crt', serverCa.certificate)
  serving(write, { notAfter: fromNow(10 * day) })
  t.match(
    await warnings(settings()),
    /warning: serving\.certificateFile: ends at /,
    'an end that is near'
  )
})

t.test('a key that everybody may read is a warning', async t => {
  const { settings, file } = place(t)
  chmodSync(file('pods.key'), 0o644)
  t.match(
    (await runCommand(command, [settings()])).err,
    /warning: authority: .*chmod/,
    'of the authority'
  )
})

t.test('a CA that OpenSSL would not take is a warning, wherever its key is', async t => {
  const { settings, file } = place(t)
  makeCa(dirname(file('pods.crt')), 1, ['extendedKeyUsage=anyExtendedKeyUsage'])
  chmodSync(file('pods.key'), 0o600)
  const certificateFile = file('pods.crt')
  for (const authority of [
    { kind: 'pem', certificateFile, privateKeyFile: file('pods.key') },
    { kind: 'kubernetes-csr', certificateFile, signerName: 'a.test/b' }
  ]) {
    const { code, err } = await runCommand(command, [settings({ authority, trust: 'shared' })])
    t.equal(code, 0, err)
    t.match(err, /^warning: authority: .*anyExtendedKeyUsage.*OpenSSL/m, authority.kind)
  }
})

t.test('a root above the CA is not trusted beside it, which is a warning', async t => {
  const { settings, write } = place(t)
  const root = newAuthority('root')
  const middle = newAuthority('middle', root)
  const low = newAuthority('low', middle)
  const pair = {
    certificateFile: write('pods.crt', low.certificate + middle.certificate),
    privateKeyFile: write('pods.key', low.key.export({ type: 'pkcs8', format: 'pem' }) as string)
  }
  const alsoTrustedFile = write('also-trusted.crt', root.certificate)
  for (const authority of [
    { ...pair, kind: 'pem' },
    { ...pair, privateKeyFile: undefined, kind: 'kubernetes-csr', signerName: 'a.test/b' }
  ]) {
    const changes = { authority, trust: 'shared', enrollment: { alsoTrustedFile } }
    const { code, err } = await runCommand(command, [settings(changes)])
    t.equal(code, 0, err)
    t.match(err, /pods are not told of "CN=root", because it has signed/, authority.kind)
  }
})

t.test('only what a component needs is looked at', async t => {
  const { settings, write, file } = place(t)
  write('pods.key', 'not a key')
  t.equal(
    (await runCommand(command, [settings(), '--components', 'webhook'])).code,
    0,
    'the webhook needs no authority'
  )
  write('server-ca.crt', 'not a certificate')
  t.equal(
    (await runCommand(command, [settings(), '--components', 'enrollment'])).code,
    2,
    'the enrollment server does'
  )
  mkdirSync(file('empty'))
  makeCa(file('empty'))
  const authority = {
    certificateFile: join(file('empty'), 'pods.crt'),
    privateKeyFile: join(file('empty'), 'pods.key')
  }
  t.equal(
    (await runCommand(command, [settings({ authority }), '--components', 'enrollment'])).code,
    0,
    'but not the CA for pods'
  )
})

t.test('wrong arguments', async t => {
  await t.rejects(runCommand(command, ['a', 'b']), { code: 'Usage' }, 'two files')
  await t.rejects(runCommand(command, ['a', '--config', 'b']), { code: 'Usage' }, 'one in each way')
  t.equal((await runCommand(command, [], {})).code, 2, 'no file at all: the image is missing')
})
