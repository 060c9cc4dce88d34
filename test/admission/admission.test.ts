import fc from 'fast-check'
import fastify from 'fastify'
import t from 'tap'
import { type AdmissionOutcome, admit } from '../../src/admission/admit.ts'
import { readBody } from '../../src/admission/body.ts'
import { resolveModes } from '../../src/admission/modes.ts'
import { type AdmissionReview, decodeReview } from '../../src/admission/review.ts'
import { admissionRoutes } from '../../src/admission/route.ts'
import { auditText, refusalText, warningTexts } from '../../src/admission/texts.ts'
import type { Operation } from '../../src/injection/edits.ts'
import type { Finding } from '../../src/injection/outcome.ts'
import type { Container, Pod } from '../../src/kubernetes/objects.ts'
import { applied } from '../support/api-server.ts'
import { arbitraryPod } from '../support/arbitrary-pods.ts'
import {
  headPod,
  injectionSettings,
  redisCleanupPod,
  review,
  submitterPod,
  workerPod
} from '../support/builders.ts'
import { nativeTls } from '../support/kuberay-pods.ts'

const settings = injectionSettings()
const root = headPod({ ray: { securityContext: { runAsUser: 0 } } })

function operationsOf(patch: string | undefined): Operation[] {
  return JSON.parse(Buffer.from(patch ?? 'W10=', 'base64').toString('utf8')) as Operation[]
}

t.test('an answer echoes the request and carries patch and type together', async t => {
  const { answer, outcome, injection } = admit(review(workerPod()), {}, settings)
  t.match(answer, {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    response: { uid: review({}).request.uid, allowed: true, patchType: 'JSONPatch' }
  })
  const made = applied(workerPod(), operationsOf(answer.response.patch))
  t.strictSame(made, injection?.allowed && injection.pod, 'the patch makes the pod')
  t.match(outcome, {
    allowed: true,
    kind: 'worker',
    modes: { podSecurity: 'warn', tls: 'tls' },
    namespace: 'team-a',
    dryRun: false
  })
  t.strictSame(admit(review(made), {}, settings).answer.response, {
    uid: review({}).request.uid,
    allowed: true,
    auditAnnotations: { modes: 'tls=tls pod-security=warn', decision: 'worker tls=rayguard' }
  })
  const dry = admit(review(workerPod(), { dryRun: true }), {}, settings)
  t.strictSame(dry.answer, answer, 'a dry run is answered alike')
  t.equal(dry.outcome.dryRun, true, 'and counted as one')
})

t.test('a pod that will ask for a certificate is told of the label of its namespace', async t => {
  const warned = (pod: Pod) =>
    admit(review(pod), {}, settings, undefined, 'The label is wrong.').answer.response.warnings ??
    []
  const text = 'rayguard: LifetimeLabel: The label is wrong.'
  t.ok(warned(workerPod()).includes(text), 'a worker')
  t.notOk(warned(workerPod(nativeTls('secret'))).includes(text), 'TLS by other means')
  t.notOk(warned(submitterPod()).includes(text), 'no part of the cluster')
})

t.test('everything but new pods and new ephemeral containers is let through', async t => {
  const untouched: Parameters<typeof review>[1][] = [
    { operation: 'DELETE', object: null, oldObject: headPod() },
    { operation: 'CONNECT' },
    { operation: 'UPDATE' },
    { operation: 'UPDATE', subResource: 'resize' },
    { operation: 'UPDATE', subResource: 'status' },
    { operation: 'CREATE', subResource: 'binding' },
    { kind: { group: 'ray.io', version: 'v1', kind: 'RayCluster' } },
    { kind: { group: 'other', version: 'v1', kind: 'Pod' } }
  ]
  for (const changes of untouched) {
    const { answer, outcome } = admit(review(headPod(), changes), { tls: 'required' }, settings)
    t.strictSame(
      answer.response,
      { uid: review({}).request.uid, allowed: true },
      JSON.stringify(changes).slice(0, 60)
    )
    t.equal(outcome.operations, 0, 'nothing was done')
  }
  const running: Pod = {
    ...headPod(),
    spec: { ...headPod().spec, ephemeralContainers: [{ name: 'debugger' }] }
  }
  const { answer } = admit(
    review(running, {
      operation: 'UPDATE',
      subResource: 'ephemeralcontainers',
      oldObject: headPod()
    }),
    {},
    settings
  )
  t.strictSame(
    operationsOf(answer.response.patch).map(({ path }) => path),
    ['/spec/ephemeralContainers/0/securityContext'],
    'an ephemeral container is tightened'
  )
})

t.test(
  'the path stands before the labels of the namespace, and these before the defaults',
  async t => {
    const modes = (requested: Parameters<typeof resolveModes>[0]) => {
      const resolved = resolveModes(requested)
      return 'problem' in resolved
        ? 'refused'
        : `${resolved.modes.podSecurity} ${resolved.modes.tls}`
    }
    const labels = (tls?: string, podSecurity?: string) => ({
      namespaceLabels: {
        ...(tls === undefined ? {} : { 'rayguard.dev/tls': tls }),
        ...(podSecurity === undefined ? {} : { 'rayguard.dev/pod-security': podSecurity })
      }
    })
    t.equal(modes({}), 'warn tls', 'defaults')
    t.equal(modes(labels()), 'warn tls', 'a namespace without labels')
    t.equal(modes(labels('enabled', 'enforce')), 'enforce tls', 'enabled')
    t.equal(modes(labels('disabled', 'audit')), 'audit no-tls', 'disabled')
    t.equal(modes(labels('required', 'off')), 'off required', 'required')
    t.equal(
      modes({ ...labels('disabled', 'off'), podSecurity: 'enforce' }),
      'enforce no-tls',
      'one of the two by path'
    )
    t.equal(
      modes({ ...labels('no', 'no'), podSecurity: 'warn', tls: 'tls' }),
      'warn tls',
      'both by path'
    )
    for (const [tls, podSecurity] of [
      ['require', undefined],
      ['', undefined],
      ['Required', undefined],
      ['tls', undefined],
      [undefined, 'restricted'],
      [undefined, 'ENFORCE'],
      ['constructor', '__proto__']
    ] as const) {
      t.equal(modes(labels(tls, podSecurity)), 'refused', `${tls} ${podSecurity}`)
      const { answer, outcome } = admit(review(headPod()), labels(tls, podSecurity), settings)
      t.match(answer.response, { allowed: false, status: { code: 403, reason: 'Forbidden' } })
      t.equal(outcome.code, 'NamespaceLabel', 'with a stable code')
    }
    const inherited = Object.create({ 'rayguard.dev/tls': 'disabled' }) as Record<string, string>
    t.equal(modes({ namespaceLabels: inherited }), 'warn tls', 'inherited members are no labels')
  }
)

t.test('violations that remain: refused, warned, noted, or not looked at', async t => {
  const of = (podSecurity: 'enforce' | 'warn' | 'audit' | 'off') =>
    admit(review(root), { podSecurity }, settings).answer.response
  t.match(of('enforce'), { allowed: false, status: { code: 403, reason: 'Forbidden' } }, 'enforce')
  t.match(of('enforce').status?.message, /^PodSecurity: .*runAsUser \(ray-head\)/, 'says which')
  t.notOk(of('enforce').patch, 'a refusal has no patch')
  t.match(of('warn').warnings?.join(), /runAsUser: "ray-head"/, 'warn')
  const noted = (podSecurity: 'warn' | 'off') => Object.keys(of(podSecurity).auditAnnotations ?? {})
  t.strictSame(noted('warn'), ['modes', 'decision'], 'without an annotation')
  t.match(of('audit').auditAnnotations, { 'pod-security-violations': /runAsUser/ }, 'audit')
  t.notOk(of('audit').warnings, 'without a warning')
  t.notOk(of('off').warnings, 'off')
  t.strictSame(noted('off'), ['modes', 'decision'], 'and nothing noted against the pod')
  t.strictSame(
    admit(review(headPod()), { podSecurity: 'audit' }, settings).answer.response.auditAnnotations,
    { modes: 'tls=tls pod-security=audit', decision: 'head tls=rayguard' },
    'nothing to note but what held and what became of it'
  )
  t.match(of('enforce').auditAnnotations, { decision: 'PodSecurity' }, 'a refusal is noted, too')
})

t.test('a pod joins its live RayCluster as that is, and never splits it', async t => {
  const of = (pod: Pod, tls: 'tls' | 'required' | 'no-tls', clusterTls?: 'rayguard' | 'none') =>
    admit(review(pod), { tls, podSecurity: 'warn' }, settings, clusterTls)
  const ids = (admission: ReturnType<typeof of>) => admission.outcome.findings.map(({ id }) => id)
  for (const pod of [headPod(), workerPod()]) {
    const left = of(pod, 'tls', 'none')
    t.equal(left.outcome.tls, 'none', 'without TLS among pods without it')
    t.match(ids(left), ['LiveClusterWithoutTls'])
    t.match(left.answer.response.warnings?.join(), /"demo" runs without it.*Delete all/, 'said')
    t.match(left.answer.response.auditAnnotations?.decision, /tls=none$/, 'and audited')
    const patch = JSON.stringify(operationsOf(left.answer.response.patch))
    t.match(patch, 'allowPrivilegeEscalation', 'Pod Security all the same')
    t.notMatch(patch, /RAY_USE_TLS|rayguard-enroll|rayguard-tls/, 'nothing of TLS')

    t.equal(of(pod, 'required', 'none').outcome.code, 'LiveClusterWithoutTls', 'required: refused')
    t.equal(of(pod, 'required', 'rayguard').outcome.tls, 'rayguard', 'with TLS among those with it')
    t.equal(of(pod, 'tls', 'rayguard').outcome.tls, 'rayguard', 'also where it is not required')
    t.equal(of(pod, 'tls').outcome.tls, 'rayguard', 'and where nothing lives')
    t.match(ids(of(pod, 'no-tls', 'rayguard')), ['LiveClusterWithTls'], 'turned off: warned')

    const first = of(pod, 'tls')
    const made = applied(pod, operationsOf(first.answer.response.patch))
    const again = of(made, 'tls', 'none')
    t.notOk(again.answer.response.patch, 'a second pass takes nothing away')
    t.equal(again.outcome.tls, 'rayguard')
    const alone = applied(pod, operationsOf(left.answer.response.patch))
    t.notOk(of(alone, 'tls', 'none').answer.response.patch, 'nor adds anything')
  }
  const cleanup = of(redisCleanupPod(), 'required', 'none')
  t.equal(cleanup.outcome.allowed, true, 'the Redis cleanup takes no part')
  const other = of(workerPod(nativeTls('s')), 'tls', 'none')
  t.equal(other.outcome.tls, 'other', 'nor does TLS by other means')
})

t.test('texts stay within their limits and printable', async t => {
  const containers: Container[] = Array.from({ length: 400 }, (_, index) => ({
    name: `${'x'.repeat(60)}${index}`,
    securityContext: { capabilities: { add: [`C${index}`] }, privileged: true, runAsUser: 0 }
  }))
  const huge = headPod({ spec: { containers, hostNetwork: true } })
  const modes = { tls: 'no-tls' } as const
  const { warnings = [], patch } = admit(review(huge), modes, settings).answer.response
  t.ok(warnings.length > 3, 'several warnings')
  t.ok(
    warnings.every(text => text.length <= 256),
    'each is short'
  )
  t.ok(warnings.join('').length < 4096, 'and all together')
  t.match(warnings.at(-1), /^rayguard: \d+ more$/, 'the rest is counted')
  const report = JSON.stringify(operationsOf(patch).at(-1))
  t.ok(report.length < 4096, 'the report is bounded')
  t.match(report, /more/, 'and counts the rest')
  const refused = admit(review(huge), { ...modes, podSecurity: 'enforce' }, settings).answer
    .response
  const message = refused.status?.message ?? ''
  t.ok(Buffer.byteLength(message) <= 600, 'a refusal fits into an event')
  t.match(message, /\(\+\d+ more\)/, 'cut on a whole entry')
  t.match(message, /edit spec\.headGroupSpec\.template\.spec.*\.$/, 'and what to do stands whole')
  const long = 'n'.repeat(63)
  const worker = workerPod({
    labels: { 'ray.io/group': 'g'.repeat(63) },
    ray: { securityContext: { capabilities: { add: ['A'.repeat(300)] }, runAsUser: 0 } }
  })
  for (const container of worker.spec.containers) container.name = long
  const wordy = admit(review(worker), { ...modes, podSecurity: 'enforce' }, settings).answer
  const text = wordy.response.status?.message ?? ''
  t.ok(Buffer.byteLength(text) <= 600, `${text.length} bytes of long names`)
  t.match(text, /edit spec\.workerGroupSpecs\[.*\.$/, 'with the place')
  t.notMatch(text, /\.\.\.$/, 'and nothing is cut within')

  const names = ['ü\u0007\n', '\u001b[31mred', '€'.repeat(500)]
  for (const name of names) {
    const pod = headPod({ ray: { securityContext: { privileged: true } }, spec: { volumes: [] } })
    ;(pod.spec.containers[0] as Container).name = name
    for (const podSecurity of ['enforce', 'warn', 'audit'] as const) {
      const { status, warnings, auditAnnotations } = admit(review(pod), { podSecurity }, settings)
        .answer.response
      const text = [status?.message, ...(warnings ?? []), ...Object.values(auditAnnotations ?? {})]
      t.match(text.join(''), /^[\x20-\x7e]+$/, `${podSecurity}: printable ASCII`)
    }
  }
  t.equal(refusalText('Code', 'x'.repeat(700)).length, 600, 'cut')
  const same: Finding[] = ['a', 'b', 'c', 'd'].map(container => ({
    kind: 'violation',
    id: 'privileged',
    container,
    reason: 'is privileged'
  }))
  t.strictSame(
    warningTexts(same, 'warn'),
    ['rayguard: privileged: "a", "b", "c" and 1 more: is privileged'],
    'equal findings are one text'
  )
  t.strictSame(
    warningTexts([{ kind: 'notice', id: 'NotRay', reason: 'x' }], 'warn'),
    [],
    'a pod that is none of Ray’s is not warned about'
  )
  t.equal(auditText([]), undefined, 'nothing to note')
})

t.test('attack 22: only a kubelet may create mirror pods', async t => {
  const mirror = headPod({ annotations: { 'kubernetes.io/config.mirror': 'x' } })
  const by = (groups: string[] | null) =>
    admit(review(mirror, { userInfo: { username: 'u', groups } }), {}, settings).outcome.code
  t.equal(by(['system:nodes']), undefined, 'let through')
  t.equal(by(['system:authenticated']), 'MirrorPod', 'refused')
  t.equal(by(null), 'MirrorPod', 'no groups')
})

t.test('a body that is no review of v1 is told so', async t => {
  const valid = review(headPod())
  const broken: [string, unknown][] = [
    ['nothing', undefined],
    ['null', null],
    ['a list', []],
    ['a text', 'AdmissionReview'],
    ['another kind', { ...valid, kind: 'Pod' }],
    ['another version', { ...valid, apiVersion: 'admission.k8s.io/v1beta1' }],
    ['no request', { ...valid, request: undefined }],
    ['a long version', { ...valid, apiVersion: 'x'.repeat(500) }]
  ]
  const fields: [string, unknown][] = [
    ['uid', ''],
    ['uid', 7],
    ['uid', 'a\nb'],
    ['uid', 'x'.repeat(200)],
    ['kind', 'Pod'],
    ['kind', {}],
    ['operation', null],
    ['namespace', 1],
    ['subResource', {}],
    ['name', []],
    ['userInfo', 'me'],
    ['userInfo', { groups: 'system:nodes' }]
  ]
  for (const [field, value] of fields) {
    const request = { ...valid.request, [field]: value }
    broken.push([`${field} ${JSON.stringify(value)}`.slice(0, 60), { ...valid, request }])
  }
  for (const [name, body] of broken) {
    const decoded = decodeReview(body)
    t.ok('problem' in decoded && decoded.problem.length < 300, name)
  }
  t.ok('review' in decodeReview(valid), 'a whole one')
  const least = { uid: 'a', kind: { kind: 'Pod' }, operation: 'CREATE', userInfo: undefined }
  t.ok('review' in decodeReview({ ...valid, request: least }), 'the least')
  t.match(
    admit({ ...valid, request: { ...least, object: { metadata: {} } } as never }, {}, settings)
      .outcome,
    { allowed: false, code: 'PodMalformed', namespace: '' },
    'an object that is no pod is refused, not a fault'
  )
})

t.test('attack 39: keys that reach for a prototype are found, wherever they stand', async t => {
  t.strictSame(readBody('{"a":1}'), { value: { a: 1 } }, 'an ordinary body')
  t.equal(readBody('{"a":"__proto__"}').forbiddenKey, undefined, 'as a value it is harmless')
  t.equal(readBody('{"__proto__":1}').forbiddenKey, 'the top level', 'at the top')
  t.equal(readBody('{"a":[{"b":{"__proto__":{}}}]}').forbiddenKey, 'a.0.b', 'with its place')
  t.equal(readBody('{"a":{"\\u005f_proto__":1}}').forbiddenKey, 'a', 'escaped')
  t.equal(
    readBody('{"a":{"\\u005f\\u005Fpr\\u006fto__":1}}').forbiddenKey,
    'a',
    'all of it escaped'
  )
  t.equal(readBody('{"constructor":{"prototype":1}}').forbiddenKey, undefined, 'a label may be so')
  const deep = `${'{"a":'.repeat(50_000)}{"__proto__":1}${'}'.repeat(50_000)}`
  t.ok((readBody(deep).forbiddenKey?.length ?? 0) < 400, 'far down, without recursion')
  t.equal(({} as { polluted?: unknown }).polluted, undefined, 'nothing got onto the prototype')
})

t.test('over HTTP', async t => {
  const outcomes: AdmissionOutcome[] = []
  const waits: string[] = []
  const labels: Record<string, Record<string, string>> = {
    'team-a': {},
    fault: {},
    lost: {},
    labelled: { 'rayguard.dev/tls': 'disabled' }
  }
  const app = fastify({ ajv: { customOptions: { removeAdditional: false, coerceTypes: false } } })
  await app.register(admissionRoutes, {
    admit: (body: AdmissionReview, requested) => {
      if (body.request.namespace === 'fault') throw new Error('a fault of ours')
      return admit(body, requested, settings)
    },
    labelsOf: namespace => labels[namespace],
    async whenKnown(namespace) {
      waits.push(namespace)
      return namespace === 'late' ? { 'rayguard.dev/tls': 'required' } : undefined
    },
    knowsClusters: ({ request }) => request.namespace !== 'lost',
    observe: outcome => outcomes.push(outcome),
    validate: () => {
      throw new Error('of Ray resources, not of pods')
    },
    observeValidation() {}
  })
  t.teardown(() => app.close())
  const post = async (url: string, payload: unknown, type = 'application/json') => {
    const body = typeof payload === 'string' ? payload : JSON.stringify(payload)
    const reply = await app.inject({ method: 'POST', url, body, headers: { 'content-type': type } })
    const { connection } = reply.headers
    return { status: reply.statusCode, connection, body: reply.json() as Record<string, never> }
  }
  const patched = await post('/mutate', review(workerPod()))
  t.match(patched, { status: 200, body: { response: { allowed: true, patchType: 'JSONPatch' } } })
  t.equal(outcomes.at(-1)?.kind, 'worker', 'the outcome is observed')
  await post('/mutate', review(workerPod(), { namespace: 'labelled' }))
  t.equal(outcomes.at(-1)?.modes?.tls, 'no-tls', 'labels of the namespace')
  await post('/mutate/off/required', review(workerPod(), { namespace: 'labelled' }))
  t.match(outcomes.at(-1)?.modes, { podSecurity: 'off', tls: 'required' }, 'the path')
  await post('/mutate/audit', review(workerPod(), { namespace: 'labelled' }))
  t.match(outcomes.at(-1)?.modes, { podSecurity: 'audit', tls: 'no-tls' }, 'half of the path')
  await post(
    '/mutate',
    review(workerPod(), { namespace: 'labelled' }),
    'application/json; charset=utf-8'
  )
  t.equal(outcomes.length, 5, 'each observed once')

  await post('/mutate', review(workerPod(), { namespace: 'late' }))
  t.equal(outcomes.at(-1)?.modes?.tls, 'required', 'a namespace that comes after its pod')
  const unknown = await post('/mutate', review(workerPod(), { namespace: 'unknown' }))
  t.match(unknown, { status: 503, body: { kind: 'Status', reason: 'ServiceUnavailable' } })
  t.equal((await post('/mutate/off', review(workerPod(), { namespace: 'unknown' }))).status, 503)
  t.equal(outcomes.length, 6, 'attack 21: a pod before its namespace never gets the defaults')
  await post('/mutate/off/tls', review(workerPod(), { namespace: 'unknown' }))
  t.match(outcomes.at(-1)?.modes, { podSecurity: 'off', tls: 'tls' }, 'the path needs no labels')
  await post('/mutate', review(workerPod(), { namespace: 'unknown', operation: 'DELETE' }))
  t.equal(outcomes.at(-1)?.allowed, true, 'nor does what is let through')
  t.strictSame(waits, ['late', 'unknown', 'unknown'], 'nobody waits for what is not needed')

  const count = outcomes.length
  for (const url of ['/mutate', '/mutate/off/tls']) {
    const lost = await post(url, review(workerPod(), { namespace: 'lost' }))
    t.match(lost, { status: 503, body: { kind: 'Status', message: /Ray clusters are not known/ } })
    t.equal(lost.connection, 'close', 'another connection may lead to another replica')
  }
  t.equal(outcomes.length, count, 'no pod is put on a side by what nobody has confirmed')
  const without = await post('/mutate/off/no-tls', review(workerPod(), { namespace: 'lost' }))
  t.equal(without.status, 200, 'without TLS there are no sides')

  for (const url of ['/mutate/strict', '/mutate/warn/maybe', '/mutate/__proto__']) {
    const { status, body } = await post(url, review(workerPod()))
    t.equal(status, 404, url)
    t.match(body, { kind: 'Status', message: /is none of/ }, 'says what is known')
  }
  const status = async (payload: unknown, type?: string) => {
    const reply = await post('/mutate', payload, type)
    t.match(reply.body, { kind: 'Status', apiVersion: 'v1', status: 'Failure' }, 'a Status')
    return reply.status
  }
  t.equal(await status('{'), 400, 'no JSON')
  t.equal(await status(''), 400, 'no body')
  t.equal(await status({ kind: 'Pod' }), 400, 'no review')
  t.equal(await status(review({}), 'text/plain'), 415, 'another type')
  t.equal(await status(`"${'x'.repeat(7 * 1024 * 1024)}"`), 413, 'more than 7 MiB')
  t.equal(
    (await post('/mutate', review(workerPod({ annotations: { x: 'x'.repeat(3_000_000) } }))))
      .status,
    200,
    '3 MiB are taken'
  )
  const forbidden = JSON.stringify(review(headPod())).replace('"ray.io/group"', '"__proto__"')
  const refused = await post('/mutate', forbidden)
  t.match(refused, { status: 200, body: { response: { allowed: false, status: { code: 403 } } } })
  t.match(
    refused.body,
    { response: { status: { message: /"__proto__" at request\.object\.metadata\.labels/ } } },
    'attack 39: with its place'
  )
  t.equal(outcomes.at(-1)?.code, 'ForbiddenKey', 'and counted')
  const fault = await post('/mutate', review(headPod(), { namespace: 'fault' }))
  t.equal(fault.status, 500, 'a fault is left to the server')
  t.equal((await app.inject({ method: 'GET', url: '/mutate' })).statusCode, 404, 'only POST')
})

t.test('attack 36: whatever comes, an answer comes', async t => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), arbitraryPod, fc.nat(), (junk, pod, place) => {
      const body = JSON.parse(JSON.stringify(review(pod))) as object
      const nodes: Record<string, unknown>[] = []
      const collect = (value: unknown) => {
        if (typeof value !== 'object' || value === null) return
        nodes.push(value as Record<string, unknown>)
        for (const child of Object.values(value)) collect(child)
      }
      collect(body)
      const node = nodes[place % nodes.length] as Record<string, unknown>
      const keys = Object.keys(node)
      const key = keys[place % Math.max(1, keys.length)]
      if (key !== undefined) {
        Object.defineProperty(node, key, { value: junk, enumerable: true, writable: true })
      }
      const decoded = decodeReview(body)
      if ('problem' in decoded) return
      const { answer } = admit(decoded.review, {}, settings)
      JSON.stringify(answer)
    }),
    { numRuns: 2000 }
  )
  const many = Array.from({ length: 100_000 }, (_, index) => ({ name: `c${index}` }))
  const large = admit(review(headPod({ spec: { containers: many } })), {}, settings)
  t.equal(large.outcome.code, 'PodTooLarge', '100 000 containers')
  t.equal(
    admit(review(submitterPod({ spec: { containers: many } })), {}, settings).outcome.operations,
    0,
    'none of Ray’s'
  )
})
