import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseAllDocuments, stringify } from 'yaml'
import { command as register } from '../../src/cli/register.ts'
import { mutatingRegistration } from '../../src/cli/registration/webhooks.ts'
import { createStandIn, type StandIn } from '../../src/demo/stand-in.ts'
import { runCommand } from '../support/cli.ts'
import { clientToken, servingPair } from '../support/enrollment-stage.ts'

interface Entry {
  matchConditions: { name: string; expression: string }[]
}

t.test('registers what the manifests register', t => {
  const manifest = parseAllDocuments(readFileSync('manifests/rayguard.yaml', 'utf8'))
    .map(document => document.toJS())
    .find(({ kind }) => kind === 'MutatingWebhookConfiguration')
  const made = mutatingRegistration({ namespace: 'rayguard-system' }) as { webhooks: Entry[] }
  t.strictSame(made.webhooks.map(joined), manifest.webhooks.map(joined))
  t.end()
})

t.test('one namespace to begin with', t => {
  const made = mutatingRegistration({ namespace: 'rayguard-system', canary: 'team-a' })
  t.match(made, {
    webhooks: [1, 2].map(() => ({
      namespaceSelector: {
        matchExpressions: [
          { key: 'kubernetes.io/metadata.name', operator: 'In', values: ['team-a'] },
          { key: 'rayguard.dev/paused', operator: 'DoesNotExist' }
        ]
      }
    }))
  })
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
