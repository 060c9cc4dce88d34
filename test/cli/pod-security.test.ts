import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import t from 'tap'
import { stringify } from 'yaml'
import { UsageError } from '../../src/cli/command.ts'
import { command } from '../../src/cli/pod-security.ts'
import { headPod } from '../support/builders.ts'
import { captureIo, runCommand } from '../support/cli.ts'

const bare = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'bare', namespace: 'a' },
  spec: { containers: [{ name: 'c' }] }
}
const good = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { generateName: 'good-' },
  spec: {
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    // a volume without a source is an emptyDir to the API server
    volumes: [{ name: 'scratch' }],
    containers: [
      {
        name: 'c',
        securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } }
      }
    ]
  }
}

t.test('pods of files and folders, as text and as JSON', async t => {
  const folder = t.testdir({ 'good.yaml': stringify(good), 'notes.txt': 'not read' })
  const file = join(folder, 'bare.json')
  writeFileSync(file, JSON.stringify(bare))
  const both = await runCommand(command, ['-f', folder])
  t.equal(both.code, 1)
  t.match(both.out, /✗ .*bare\.json: document 1 \(a\/bare\) violates restricted:latest\n/)
  t.match(
    both.out,
    'allowPrivilegeEscalation: allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)'
  )
  t.match(both.out, /✓ .*good\.yaml: document 1 \(good-\*\)\n/)
  const json = await runCommand(command, ['-f', file, '-o', 'json'])
  const { results } = JSON.parse(json.out)
  t.match(results, [{ source: `${file}: document 1 (a/bare)`, allowed: false }])
  t.strictSame(Object.keys(results[0].violations[0]), ['id', 'reason', 'detail'])
  t.match(await runCommand(command, ['-f', join(folder, 'good.yaml')]), { code: 0 })
  t.match(await runCommand(command, ['-f', file, '--level', 'baseline']), { code: 0 })
})

t.test('the version of the policy decides', async t => {
  const file = join(t.testdir(), 'pod.yaml')
  writeFileSync(file, stringify(bare))
  const ids = async (version: string) => {
    const { out } = await runCommand(command, ['-f', file, '--version', version, '-o', 'json'])
    return JSON.parse(out).results[0].violations.map(({ id }: { id: string }) => id)
  }
  t.strictSame(await ids('v1.7'), ['runAsNonRoot'])
  t.strictSame(await ids('v1.8'), ['allowPrivilegeEscalation', 'runAsNonRoot'])
  t.strictSame(await ids('v1.0'), ['runAsNonRoot'], 'the first')
  for (const later of ['v1.99', `v1.${'9'.repeat(400)}`])
    t.strictSame(await ids(later), await ids('latest'), 'one that is not known yet')
  for (const wrong of [
    ['--version', '1.8'],
    ...[
      'v1',
      '',
      'v1.',
      'v1.-1',
      'v1.07',
      'v1.8 ',
      'v1.1e1',
      'v2.0',
      'V1.8',
      'Latest',
      '__proto__'
    ].map(version => ['--version', version]),
    ['--level', 'privileged'],
    ['-o', 'yaml']
  ])
    await t.rejects(runCommand(command, ['-f', file, ...wrong]), UsageError, wrong.join(' '))
})

t.test('many documents of standard input', async t => {
  const list = { apiVersion: 'v1', kind: 'List', items: [bare, headPod()] }
  const io = { ...captureIo(), stdin: Readable.from([`${stringify(good)}---\n`, stringify(list)]) }
  t.equal(await command.run(['-f', '-', '-o', 'json'], io), 1)
  const { results } = JSON.parse(io.out())
  t.strictSame(
    results.map(({ source, allowed }: { source: string; allowed: boolean }) => [
      source.replace(/ \(.*/, ''),
      allowed
    ]),
    [
      ['standard input: document 1', true],
      ['standard input: document 2, item 1', false],
      ['standard input: document 2, item 2', false]
    ]
  )
})

t.test('what cannot be judged is told with its place', async t => {
  const folder = t.testdir()
  const told = async (text: string) => {
    const file = join(folder, 'x.yaml')
    writeFileSync(file, text)
    const { code, err, out } = await runCommand(command, ['-f', file])
    t.equal(code, 2, text)
    t.equal(out, '', 'nothing half said')
    return err
  }
  t.match(await told('kind: [\n'), /x\.yaml: document 1, line 2, column 1: not YAML/)
  t.match(
    await told('# a\n---\napiVersion: ray.io/v1\nkind: RayCluster\n'),
    /line 3: v1 Pod .*rayguard dry-run/
  )
  t.match(
    await told(
      stringify({
        ...bare,
        spec: { containers: [{ name: 'c', securityContext: { privileged: 'yes' } }] }
      })
    ),
    /spec\.containers\[0\]\.securityContext\.privileged must be a boolean/
  )
  mkdirSync(join(folder, 'empty'))
  for (const files of [
    [],
    ['-f', join(folder, 'none')],
    ['-f', join(folder, 'empty')],
    ['-f', '-', '-f', '-']
  ])
    await t.rejects(runCommand(command, files), UsageError, files.join(' '))
})
