import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseAllDocuments, stringify } from 'yaml'
import { command as register, registerCommand } from '../../src/cli/register.ts'
import { lockDownPolicies, policyBinding } from '../../src/cli/registration/bindings.ts'
import {
  mutatingRegistration,
  validatingRegistration
} from '../../src/cli/registration/webhooks.ts'
import { createStandIn, type StandIn } from '../../src/demo/stand-in.ts'
import type { LabelSelector } from '../../src/kubernetes/objects.ts'
import { captureIo, runCommand } from '../support/cli.ts'
import { clientToken, servingPair } from '../support/enrollment-stage.ts'

interface Entry {
  namespaceSelector: LabelSelector
  matchConditions: { name: string; expression: string }[]
}

const registrations = {
  MutatingWebhookConfiguration: mutatingRegistration,
  ValidatingWebhookConfiguration: validatingRegistration
}

t.test('registers what the manifests register', t => {
  const manifest = parseAllDocuments(readFileSync('manifests/rayguard.yaml', 'utf8')).map(
    document => document.toJS()
  )
  for (const [kind, of] of Object.entries(registrations)) {
    const made = of({ namespace: 'rayguard-system' }) as { kind: string; webhooks: Entry[] }
    const standing = manifest.find(object => object.kind === kind)
    t.strictSame(made.webhooks.map(joined), standing.webhooks.map(joined), kind)
    t.equal(made.kind, kind)
  }
  t.end()
})

t.test('binds the policies that the manifests bind', t => {
  const bindings = parseAllDocuments(readFileSync('manifests/rayguard.yaml', 'utf8'))
    .map(document => document.toJS())
    .filter(({ kind }) => kind === 'ValidatingAdmissionPolicyBinding')
  const aboutPods = bindings.filter(({ metadata }) => metadata.name !== 'rayguard-own-objects')
  const made = lockDownPolicies.map(name =>
    policyBinding(name, { namespace: 'rayguard-system' })
  ) as { metadata: { name: string }; spec: object }[]
  const essence = (of: typeof made) => of.map(({ metadata: { name }, spec }) => ({ name, spec }))
  t.strictSame(essence(made), essence(aboutPods))
  t.end()
})

t.test('one namespace to begin with', t => {
  for (const of of Object.values(registrations)) {
    const { webhooks } = of({ namespace: 'rayguard-system', canary: 'team-a' }) as {
      webhooks: Entry[]
    }
    for (const { namespaceSelector } of webhooks)
      t.strictSame(namespaceSelector.matchExpressions, [
        { key: 'kubernetes.io/metadata.name', operator: 'In', values: ['team-a'] },
        { key: 'rayguard.dev/paused', operator: 'DoesNotExist' }
      ])
  }
  t.end()
})

t.test('nothing is registered that nobody answers', async t => {
  const { standIn, kubeconfig } = await stage(t)
  const run = (...argumentsList: string[]) =>
    runCommand(register, ['--kubeconfig', kubeconfig, ...argumentsList])
  const conditions = { ready: false }
  standIn.interfere(({ path }) =>
    path.endsWith('/endpointslices')
      ? {
          status: 200,
          body: { metadata: { resourceVersion: '1' }, items: [{ endpoints: [{ conditions }] }] }
        }
      : undefined
  )
  t.match(await run(), { code: 1, err: /No replica of the webhook is ready.*--force/ })
  t.match(await run('--canary', 'nowhere'), { code: 1, err: /no namespace "nowhere"/ })
  t.notOk(
    standIn.requests.some(request => request.startsWith('PATCH')),
    'nothing was written'
  )
})

t.test('a policy is never bound where the webhook is not asked, not for a moment', async t => {
  const { standIn, kubeconfig } = await stage(t)
  const registration = /\/(mut|valid)atingwebhookconfigurations\/rayguard$/
  const apiVersion = 'admissionregistration.k8s.io/v1'
  const put = (kind: string, name: string) => standIn.put({ apiVersion, kind, metadata: { name } })
  for (const kind of Object.keys(registrations)) put(kind, 'rayguard')
  put('Namespace', 'team-a')
  for (const name of ['rayguard-pods', 'rayguard-authors']) {
    put('ValidatingAdmissionPolicy', name)
    put('ValidatingAdmissionPolicyBinding', name)
  }
  // the webhook has announced its CA
  const body = {
    metadata: { name: 'rayguard' },
    webhooks: [{ clientConfig: { caBundle: 'Y2E=' } }]
  }
  standIn.interfere(({ method, path }) =>
    method === 'GET' && registration.test(path) ? { status: 200, body } : undefined
  )
  const written = async (...argumentsList: string[]) => {
    const before = standIn.requests.length
    const { code, err } = await runCommand(register, [
      ...['--kubeconfig', kubeconfig, '--force'],
      ...argumentsList
    ])
    t.equal(code, 0, err)
    const patches = standIn.requests.slice(before).filter(request => request.startsWith('PATCH'))
    t.strictSame(patches.slice(0, 4), patches.slice(-4), 'judged first, then written')
    return patches.slice(-4).map(request => request.split('/').at(-1))
  }
  const bindings = ['rayguard-pods', 'rayguard-authors']
  t.strictSame(await written(), ['rayguard', 'rayguard', ...bindings], 'to all: the webhook first')
  t.strictSame(
    await written('--canary', 'team-a'),
    [...bindings, 'rayguard', 'rayguard'],
    'to one: the policies first'
  )
})

t.test('the wait for a caBundle ends with its time, and with a signal', async t => {
  const { standIn, kubeconfig } = await stage(t)
  const apiVersion = 'admissionregistration.k8s.io/v1'
  for (const kind of Object.keys(registrations))
    standIn.put({ apiVersion, kind, metadata: { name: 'rayguard' } })
  const given = ['--kubeconfig', kubeconfig, '--force']
  const impatient = registerCommand({ waitMs: 0, everyMs: 1 })
  t.match(await runCommand(impatient, given), { code: 1, err: /Nobody has written a caBundle/ })

  // The runner ends what would be waited for so long.
  const patient = registerCommand({ waitMs: 3_600_000, everyMs: 3_600_000 })
  const io = captureIo()
  standIn.interfere(({ method, path }) => {
    // Most often in the pause between two looks.
    if (method === 'GET' && path.endsWith('/validatingwebhookconfigurations/rayguard'))
      setTimeout(io.abort, 100)
    return undefined
  })
  t.equal(await patient.run(given, io), 143, 'by which signal')
  t.match(io.err(), /Stopped before .* caBundle.* rayguard unregister/, 'and how it stands')
  t.notMatch(io.err(), /Nobody/)
  t.equal(io.out(), '', 'nor is it said to be registered')
})

t.test('wrong arguments', async t => {
  const { kubeconfig } = await stage(t)
  for (const wrong of [
    ['--canary', 'kube-system'],
    ['--canary', 'a', '--exclude', 'b'],
    ['-o', 'json']
  ])
    await t.rejects(
      runCommand(register, ['--kubeconfig', kubeconfig, ...wrong]),
      { code: 'Usage' },
      wrong.join(' ')
    )
})

/** The line breaks of an expression in YAML are no part of it. */
function joined(entry: Entry): Entry {
  return {
    ...entry,
    matchConditions: entry.matchConditions.map(({ name, expression }) => ({
      name,
      expression: expression.replace(/\s+/g, ' ')
    }))
  }
}

async function stage(t: Test): Promise<{ standIn: StandIn; kubeconfig: string }> {
  const pair = servingPair()
  const standIn = createStandIn({ ...pair, clientToken, clock: Date.now })
  const server = await standIn.listen()
  t.teardown(() => standIn.close())
  const kubeconfig = join(t.testdir({}), 'kubeconfig')
  const cluster = { server, 'certificate-authority-data': Buffer.from(pair.ca).toString('base64') }
  const config = {
    clusters: [{ name: 'a', cluster }],
    users: [{ name: 'a', user: { token: clientToken } }],
    contexts: [{ name: 'a', context: { cluster: 'a', user: 'a' } }],
    'current-context': 'a'
  }
  writeFileSync(kubeconfig, stringify(config))
  return { standIn, kubeconfig }
}
