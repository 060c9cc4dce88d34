import { execFileSync } from 'node:child_process'
import { randomBytes, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import type { WebhookConfiguration } from '../../src/kubernetes/objects.ts'
import { limits } from '../../src/server/limits.ts'
import { createListener } from '../../src/server/listener.ts'
import { createCaBundle } from '../../src/serving/ca-bundle.ts'
import { createCaConfigMap } from '../../src/serving/ca-config-map.ts'
import { createKeeper, type Keeper } from '../../src/serving/keeper.ts'
import { profileOf, type ServingComponent } from '../../src/serving/profile.ts'
import { createServerCa } from '../../src/serving/server-ca.ts'
import { readTrustBundle } from '../../src/serving/trust-bundle.ts'
import { createLogger } from '../../src/telemetry/logger.ts'
import { makeCa } from '../support/cluster-certificates.ts'
import { type OwnObjects, ownObjects } from '../support/own-objects.ts'

const namespace = 'rayguard-system'
const day = 86_400_000
const secretOf = (component: ServingComponent) =>
  `/api/v1/namespaces/${namespace}/secrets/rayguard-${component}-serving`
const configMap = `/api/v1/namespaces/${namespace}/configmaps/rayguard-enrollment-ca`
const registration = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/rayguard'
const nameOf = (component: ServingComponent) => `rayguard-${component}.${namespace}.svc`

/** One API and one clock; as many replicas as a test wants. */
async function cluster(t: Test) {
  const api = await ownObjects()
  t.teardown(api.close)
  const clock = { now: Date.now() }
  return {
    api,
    clock,
    pass(days: number) {
      clock.now += days * day
    },
    replica: (component: ServingComponent) => startReplica(t, api, clock, component)
  }
}

interface Replica {
  keeper: Keeper
  port: number
  problems: string[]
  steps: string[]
  entries(): { all: number; announced: number }
}

/** A keeper and the real listener that it feeds. */
async function startReplica(
  t: Test,
  api: OwnObjects,
  clock: { now: number },
  component: ServingComponent
): Promise<Replica> {
  const listener = await createListener({
    name: component,
    address: '127.0.0.1',
    port: 0,
    limits: limits.enrollment,
    serving: 'later',
    register(app) {
      app.get('/', () => 'served')
    },
    requestId: () => 'request',
    log: createLogger({ level: 'error', destination: { write: () => {} } })
  })
  t.teardown(async () => {
    listener.cut()
    await listener.close()
  })
  const problems: string[] = []
  const steps: string[] = []
  const { client } = api
  const caBundle = createCaBundle({ client, onAnnounced: () => steps.push('announced') })
  const keeper = createKeeper({
    profile: profileOf(component, { namespace, clusterDomain: 'cluster.local' }),
    client,
    announcer:
      component === 'webhook'
        ? caBundle
        : createCaConfigMap({ client, namespace, onPublished: () => steps.push('published') }),
    clock: () => clock.now,
    random: randomBytes,
    everyMs: 10_000,
    use: pair => listener.useServing(pair),
    onUsed: () => steps.push('used'),
    onStep: step => steps.push(step),
    onProblem: code => problems.push(code)
  })
  const { port } = await listener.start()
  return { keeper, port, problems, steps, entries: caBundle.entries }
}

function register(api: OwnObjects, caBundle?: string): void {
  api.put(registration, {
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: 'rayguard', labels: { 'user.example/kept': 'yes' } },
    webhooks: ['pods.rayguard.dev', 'submitters.rayguard.dev'].map(name => ({
      name,
      failurePolicy: 'Fail',
      clientConfig: {
        service: { name: 'rayguard-webhook', namespace },
        ...(caBundle === undefined ? {} : { caBundle })
      }
    }))
  })
}

function announced(api: OwnObjects): string {
  const { webhooks } = api.get(registration) as WebhookConfiguration
  const texts = new Set((webhooks ?? []).map(({ clientConfig }) => clientConfig?.caBundle ?? ''))
  return texts.size === 1 ? Buffer.from([...texts][0] ?? '', 'base64').toString() : 'they differ'
}

const published = (api: OwnObjects) => api.get(configMap)?.data?.['ca.crt'] ?? ''

const secretText = (api: OwnObjects, component: ServingComponent, key: string) =>
  Buffer.from(api.get(secretOf(component))?.data?.[key] ?? '', 'base64').toString()

/** What the listener shows to a client that trusts `ca` alone: its serial number, or why it is refused. */
function served(port: number, ca: string, servername: string): Promise<string> {
  return new Promise(resolve => {
    const socket = connect(
      { host: '127.0.0.1', port, ca, servername, allowPartialTrustChain: true },
      () => {
        resolve(socket.getPeerCertificate().serialNumber)
        socket.destroy()
      }
    )
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(`refused: ${error.code}`))
  })
}

/** The independent judge, at the test's time: Node's client knows the machine's clock alone. */
function opensslAccepts(chain: string, anchor: string, name: string, now: number): boolean {
  const folder = mkdtempSync(join(tmpdir(), 'rayguard-serving-'))
  const file = (part: string) => join(folder, part)
  writeFileSync(file('anchor.pem'), anchor)
  writeFileSync(file('chain.pem'), chain)
  try {
    execFileSync(
      'openssl',
      [
        ...['verify', '-attime', String(Math.floor(now / 1000)), '-purpose', 'sslserver'],
        ...['-x509_strict', '-verify_hostname', name, '-CAfile', file('anchor.pem')],
        ...['-untrusted', file('chain.pem'), file('chain.pem')]
      ],
      { stdio: 'pipe' }
    )
    return true
  } catch {
    return false
  }
}

t.test(
  'attack 59: three replicas that start at once agree on one Secret, and announce before they serve',
  async t => {
    const { api, clock, replica } = await cluster(t)
    register(api)
    const replicas = await Promise.all([1, 2, 3].map(() => replica('webhook')))
    await Promise.all(replicas.map(({ keeper }) => keeper.look()))
    const serials = await Promise.all(
      replicas.map(({ port }) => served(port, announced(api), nameOf('webhook')))
    )
    t.equal(new Set(serials).size, 1, 'all serve the same certificate')
    t.notMatch(serials[0], /refused/, 'which leads to what the API server was told')
    t.equal(
      replicas.flatMap(({ steps }) => steps).filter(step => step === 'begin').length,
      1,
      'one has made it'
    )
    for (const { steps, entries } of replicas) {
      t.ok(
        !steps.includes('announced') || steps.indexOf('announced') < steps.indexOf('used'),
        'first'
      )
      t.strictSame(entries(), { all: 2, announced: 2 }, 'both entries have it')
    }
    t.match(api.get(registration), { metadata: { labels: { 'user.example/kept': 'yes' } } }, 'kept')
    const chain = secretText(api, 'webhook', 'tls.crt')
    for (const name of [nameOf('webhook'), `${nameOf('webhook')}.cluster.local`]) {
      t.ok(opensslAccepts(chain, announced(api), name, clock.now), `openssl: ${name}`)
    }
    t.notOk(opensslAccepts(chain, announced(api), nameOf('enrollment'), clock.now), 'no other name')
    t.match(api.get(secretOf('webhook')), { type: 'Opaque' }, 'an Opaque Secret')
  }
)

t.test('without a registration nothing is made, and the webhook serves', async t => {
  const { api, replica } = await cluster(t)
  const { keeper, entries } = await replica('webhook')
  await keeper.look()
  t.equal(keeper.unusable(), undefined, 'it can be sent requests')
  t.strictSame(entries(), { all: 0, announced: 0 }, 'nothing is registered')
  t.notOk(
    api.calls.some(call => call.startsWith('PATCH')),
    'no apply that could make a configuration'
  )
})

t.test('attack 31: an edited caBundle is put right', async t => {
  const { api, replica } = await cluster(t)
  register(api)
  const { keeper, port } = await replica('webhook')
  await keeper.look()
  const right = announced(api)
  register(api, Buffer.from('nonsense').toString('base64'))
  t.not(announced(api), right, 'edited')
  await keeper.look()
  t.equal(announced(api), right, 'as it was')
  t.notMatch(await served(port, right, nameOf('webhook')), /refused/, 'served all the while')
})

t.test(
  'a certificate whose CA cannot be announced is not shown, and the reason is said',
  async t => {
    const { api, replica } = await cluster(t)
    register(api)
    api.deny('PATCH')
    const { keeper, problems } = await replica('webhook')
    await keeper.look()
    await keeper.look()
    t.match(keeper.unusable(), /not announced: .*403/, 'the readiness check has the reason')
    t.strictSame(problems, ['NotAnnounced'], 'told once')
    api.deny()
    await keeper.look()
    t.equal(keeper.unusable(), undefined, 'and used as soon as it is')
    t.equal(keeper.problem(), undefined, 'nothing is wrong any more')
  }
)

t.test('a replica whose CA was announced before goes on when the API forbids to ask', async t => {
  const { api, replica } = await cluster(t)
  register(api)
  await (await replica('webhook')).keeper.look()
  api.deny('GET /apis/admissionregistration', 'PATCH')
  const { keeper, problems } = await replica('webhook')
  await keeper.look()
  t.equal(keeper.unusable(), undefined, 'what stands in the Secret was announced')
  t.strictSame(problems, ['Forbidden'], 'but it is said')
})

t.test('two years of the webhook, day by day: every replica is always trusted', async t => {
  const { api, clock, pass, replica } = await cluster(t)
  register(api)
  const [one, two] = [await replica('webhook'), await replica('webhook')]
  await one.keeper.look()
  await two.keeper.look()
  const first = announced(api)
  const authorities = new Set<string>()
  let before = announced(api)
  let gaps = 0
  for (let at = 0; at < 2 * 365 * 4; at += 1) {
    pass(0.25)
    // In turns, so that one of them is always behind.
    await (at % 2 === 0 ? one : two).keeper.look()
    const chain = secretText(api, 'webhook', 'tls.crt')
    authorities.add(secretText(api, 'webhook', 'ca.crt'))
    // An API server that has not heard of the last change yet counts too.
    if (at % 40 === 0 || before !== announced(api)) {
      for (const bundle of [before, announced(api)]) {
        if (!opensslAccepts(chain, bundle, nameOf('webhook'), clock.now)) gaps += 1
      }
    }
    before = announced(api)
  }
  t.equal(gaps, 0, 'no moment at which the served certificate was not trusted')
  t.equal(authorities.size, 3, 'three CAs signed in turn')
  t.notOk(announced(api).includes(first), 'the first is forgotten')
  t.strictSame([...one.problems, ...two.problems], [], 'nobody had to be called')
  const certificates = announced(api).match(/BEGIN CERTIFICATE/g) ?? []
  t.ok(certificates.length <= 2, 'the bundle does not grow')
})

t.test('a successor is announced for an hour before it signs', async t => {
  const { api, pass, replica } = await cluster(t)
  register(api)
  const { keeper } = await replica('webhook')
  await keeper.look()
  const first = secretText(api, 'webhook', 'ca.crt')
  pass(244)
  await keeper.look()
  const next = secretText(api, 'webhook', 'next-ca.crt')
  t.ok(announced(api).includes(next) && announced(api).includes(first), 'both are announced')
  pass(0.9 / 24)
  await keeper.look()
  t.equal(secretText(api, 'webhook', 'ca.crt'), first, 'the old one signs on')
  api.deny('PATCH')
  register(api)
  pass(1)
  await keeper.look()
  t.equal(secretText(api, 'webhook', 'ca.crt'), first, 'also while nobody knows the new one')
  api.deny()
  await keeper.look()
  await keeper.look()
  t.equal(secretText(api, 'webhook', 'ca.crt'), next, 'then the new one')
  t.ok(announced(api).includes(first), 'and the old one is known for a while')
})

t.test(
  'attack 78: twelve years of enrollment, a pod with the CA of its first day is served until it ends',
  async t => {
    const { api, clock, pass, replica } = await cluster(t)
    const { keeper } = await replica('enrollment')
    await keeper.look()
    const name = nameOf('enrollment')
    const old = published(api)
    const authorities = new Set<string>()
    let refused = 0
    for (let days = 0; days < 12 * 365; days += 15) {
      pass(15)
      await keeper.look()
      const chain = secretText(api, 'enrollment', 'tls.crt')
      authorities.add(secretText(api, 'enrollment', 'ca.crt'))
      if (!opensslAccepts(chain, published(api), name, clock.now)) refused += 1
      // The last leaf that the cross certificate vouches for ends with the old CA.
      if (days + 15 < 3649 && !opensslAccepts(chain, old, name, clock.now)) refused += 1
    }
    t.equal(refused, 0, 'old pods and new ones')
    t.equal(authorities.size, 2, 'although another CA signs')
    t.notOk(published(api).includes(old), 'new pods are not told of the old one any more')
    t.equal(keeper.unusable(), undefined, 'nothing had to be done')
  }
)

t.test(
  'a pod whose sandbox restarts after the successor signs still enrolls, over real TLS',
  async t => {
    const { api, clock, replica } = await cluster(t)
    // Node verifies by the machine's clock: the first CA is made so long ago that its successor signs today.
    clock.now = Date.now() - 8 * 365 * day
    const { keeper, port } = await replica('enrollment')
    await keeper.look()
    const old = published(api)
    clock.now = Date.now() - day
    await keeper.look()
    t.ok(published(api).includes(old), 'both are published')
    clock.now = Date.now()
    await keeper.look()
    const current = secretText(api, 'enrollment', 'ca.crt')
    t.not(current, old, 'another CA signs')
    t.notMatch(await served(port, old, nameOf('enrollment')), /refused/, 'the anchor of old pods')
    t.notMatch(await served(port, current, nameOf('enrollment')), /refused/, 'that of new ones')
    t.notMatch(await served(port, published(api), nameOf('enrollment')), /refused/, 'and both')
    const stranger = await cluster(t)
    stranger.clock.now = Date.now()
    await (await stranger.replica('enrollment')).keeper.look()
    t.match(
      await served(port, published(stranger.api), nameOf('enrollment')),
      /refused/,
      'no other'
    )
  }
)

t.test('a Secret that is deleted comes back as it was', async t => {
  const { api, replica } = await cluster(t)
  const [one, two] = [await replica('enrollment'), await replica('enrollment')]
  await one.keeper.look()
  await two.keeper.look()
  const before = api.get(secretOf('enrollment'))?.data
  api.remove(secretOf('enrollment'))
  api.remove(configMap)
  await Promise.all([one.keeper.look(), two.keeper.look()])
  t.strictSame(api.get(secretOf('enrollment'))?.data, before, 'with the same CA: pods hold it')
  t.equal(published(api), secretText(api, 'enrollment', 'ca.crt'), 'published again')
})

t.test('a Secret with a CA by openssl alone: it signs, and stays', async t => {
  const { api, replica } = await cluster(t)
  const ca = makeCa(t.testdir(), 'Rayguard')
  const data = { 'ca.crt': ca.certificate, 'ca.key': readFileSync(ca.privateKeyFile, 'utf8') }
  api.put(secretOf('enrollment'), {
    kind: 'Secret',
    metadata: { name: 'rayguard-enrollment-serving', namespace },
    data: Object.fromEntries(
      Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')])
    )
  })
  const { keeper, port } = await replica('enrollment')
  await keeper.look()
  t.equal(published(api), ca.certificate, 'it is what pods are told to trust')
  t.notMatch(
    await served(port, ca.certificate, nameOf('enrollment')),
    /refused/,
    'pods that knew it before accept the server'
  )
})

t.test('a damaged Secret is repaired from what is in use', async t => {
  const { api, replica } = await cluster(t)
  const { keeper, steps } = await replica('enrollment')
  await keeper.look()
  const object = api.get(secretOf('enrollment'))
  const data = object?.data ?? {}
  const { 'tls.key': _, ...halfPair } = data
  const nonsense = Buffer.from('nonsense').toString('base64')
  for (const broken of [halfPair, { ...data, 'ca.crt': nonsense }, { 'ca.key': nonsense }, {}]) {
    api.put(secretOf('enrollment'), { ...object, data: broken })
    await keeper.look()
    t.strictSame(api.get(secretOf('enrollment'))?.data, data, Object.keys(broken).join(', '))
  }
  t.equal(steps.filter(step => step === 'repair').length, 4, 'each time it is told')
})

t.test('a damaged Secret that no replica remembers', async t => {
  const damaged = async (component: ServingComponent, keys: string[]) => {
    const { api, pass, replica } = await cluster(t)
    register(api)
    await (await replica(component)).keeper.look()
    const object = api.get(secretOf(component))
    const before = { ...object?.data }
    const data = Object.fromEntries(Object.entries(before).filter(([key]) => !keys.includes(key)))
    api.put(secretOf(component), { ...object, data })
    const fresh = await replica(component)
    await fresh.keeper.look()
    return { ...fresh, api, pass, before, after: () => api.get(secretOf(component))?.data ?? {} }
  }
  const leaf = await damaged('enrollment', ['tls.key'])
  t.equal(leaf.keeper.problem(), undefined, 'a server certificate is made anew')
  t.equal(leaf.after()['ca.crt'], leaf.before['ca.crt'], 'by the same CA')

  const key = await damaged('enrollment', ['ca.key'])
  t.equal(key.keeper.unusable(), undefined, 'what was signed is served')
  t.match(key.keeper.problem()?.message, /ca\.key: expected/, 'it is said what is missing')
  t.ok(key.after()['next-ca.crt'], 'and a successor is announced')
  key.pass(30)
  await key.keeper.look()
  t.equal(key.after()['ca.crt'], key.before['ca.crt'], 'a person has time to bring it back')
  key.pass(54)
  await key.keeper.look()
  t.not(key.after()['ca.crt'], key.before['ca.crt'], 'before the end the successor signs')

  const everything = await damaged('enrollment', ['ca.crt', 'tls.crt'])
  t.match(everything.keeper.unusable(), /ca\.crt: expected .* backup/, 'pods hold that CA: stop')
  t.equal(everything.problems[0], 'SecretUnusable', 'with a code')
  t.notOk(everything.after()['ca.crt'], 'nothing is overwritten')

  const webhook = await damaged('webhook', ['ca.crt', 'tls.crt'])
  t.equal(webhook.keeper.unusable(), undefined, 'the webhook begins anew')
  t.equal(announced(webhook.api), secretText(webhook.api, 'webhook', 'ca.crt'), 'and announces it')
})

t.test('attack: a Secret that holds the key of another certificate, or a leaf as CA', async t => {
  const { api, replica } = await cluster(t)
  await (await replica('enrollment')).keeper.look()
  const object = api.get(secretOf('enrollment'))
  const data = object?.data ?? {}
  for (const swapped of [
    { ...data, 'tls.key': data['ca.key'] },
    { ...data, 'ca.crt': data['tls.crt'], 'ca.key': data['tls.key'] }
  ]) {
    api.put(secretOf('enrollment'), { ...object, data: swapped })
    const { keeper, steps, problems } = await replica('enrollment')
    await keeper.look()
    t.ok(
      steps.includes('renew') || problems.includes('SecretUnusable'),
      'never served: made anew or refused'
    )
  }
})

t.test('a clock that is an hour off does no harm', async t => {
  for (const hours of [-1, 1]) {
    const { api, clock, replica } = await cluster(t)
    const right = clock.now
    clock.now += hours * 3_600_000
    const { keeper } = await replica('enrollment')
    await keeper.look()
    const chain = secretText(api, 'enrollment', 'tls.crt')
    t.ok(
      opensslAccepts(chain, published(api), nameOf('enrollment'), right),
      `a peer whose clock is right accepts what was made ${hours} h off`
    )
    clock.now = right
    const before = chain
    await keeper.look()
    t.equal(secretText(api, 'enrollment', 'tls.crt'), before, 'and nothing has to be made anew')
  }
})

t.test('the CA for pods: nonsense is refused, a change is taken', async t => {
  const { api, clock, replica } = await cluster(t)
  await (await replica('enrollment')).keeper.look()
  let text: string | undefined
  const problems: string[] = []
  const serverCa = createServerCa({
    place: 'the place',
    read: async () => text,
    clock: () => clock.now,
    everyMs: 10_000,
    onChanged: () => {},
    onProblem: message => problems.push(message)
  })
  await serverCa.look()
  t.notOk(serverCa.known(), 'not there yet')
  text = published(api)
  await serverCa.look()
  t.equal(serverCa.current(), text, 'taken')
  const leaf = secretText(api, 'enrollment', 'tls.crt')
  const key = secretText(api, 'enrollment', 'ca.key')
  for (const bad of ['', 'nonsense', leaf, `${published(api)}${key}`, published(api).repeat(20)]) {
    text = bad
    await serverCa.look()
    t.equal(serverCa.current(), published(api), 'the last good one stays')
  }
  t.equal(problems.length, 5, 'each problem is told once; two of the texts have the same')
  t.notMatch(problems.join(), /MI[GI]/, 'and shows no text')
  const ended = readTrustBundle(published(api), clock.now + 3651 * day)
  t.ok('problem' in ended, 'a CA that has ended is refused')
})

t.test(
  'the keys of the two components are different, and no key is in what is published',
  async t => {
    const { api, replica } = await cluster(t)
    register(api)
    await (await replica('webhook')).keeper.look()
    await (await replica('enrollment')).keeper.look()
    const keys = (['webhook', 'enrollment'] as const).flatMap(component =>
      ['ca.key', 'tls.key'].map(key => secretText(api, component, key))
    )
    t.equal(new Set(keys).size, 4, 'four keys')
    t.notMatch(published(api) + announced(api), /PRIVATE/, 'certificates alone')
    const certificate = new X509Certificate(secretText(api, 'webhook', 'tls.crt'))
    t.strictSame(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1'], 'for servers alone')
  }
)
