/** What is said to whoever applies a Ray resource; `test/api` asks a real API server to pass it on. */
import fc from 'fast-check'
import fastify from 'fastify'
import t from 'tap'
import type { RequestedModes } from '../../src/admission/modes.ts'
import type { AdmissionRequest } from '../../src/admission/review.ts'
import { admissionRoutes } from '../../src/admission/route.ts'
import { type ValidationOutcome, validate } from '../../src/admission/validate.ts'
import { injectionSettings, review } from '../support/builders.ts'

const settings = injectionSettings()
const ray = (more: object = {}) => ({ name: 'ray', image: 'rayproject/ray:2.58.0', ...more })
const context = (securityContext: object) => ({ securityContext })
const safe = context({
  runAsNonRoot: true,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  seccompProfile: { type: 'RuntimeDefault' }
})
const template = (containers: object[] = [ray()], more: object = {}) => ({
  template: { spec: { containers, ...more } }
})
const group = (groupName: string, containers?: object[], more?: object) => ({
  groupName,
  ...template(containers, more)
})
const clusterSpec = (more: object = {}) => ({
  headGroupSpec: template([ray(safe)]),
  workerGroupSpecs: [group('small', [ray(safe)])],
  ...more
})
const privileged = ray(context({ privileged: true }))

function asked(kind: string, spec: object, changes: Partial<AdmissionRequest> = {}, more = {}) {
  const version = 'v1'
  const object = {
    apiVersion: `ray.io/${version}`,
    kind,
    metadata: { name: 'demo', ...more },
    spec
  }
  return review(object, { kind: { group: 'ray.io', version, kind }, ...changes })
}

function said(of: ReturnType<typeof asked>, modes: RequestedModes = {}) {
  const { answer, outcome } = validate(of, modes, settings)
  const { allowed, warnings = [], auditAnnotations } = answer.response
  if (!allowed) throw new Error('a Ray resource was refused')
  return { warnings, text: warnings.join('\n'), auditAnnotations, outcome }
}

t.test('whoever applies a RayCluster learns what is mended and what will be wrong', t => {
  const fetch = { ...privileged, name: 'fetch' }
  const spec = clusterSpec({
    enableInTreeAutoscaling: true,
    headGroupSpec: template([privileged, { ...ray(), name: 'sidecar' }]),
    workerGroupSpecs: [group('small'), group('large', [privileged], { initContainers: [fetch] })]
  })
  const { warnings, outcome, auditAnnotations } = said(asked('RayCluster', spec))
  const of = (text: string) => warnings.filter(warning => warning.includes(text))
  t.match(of('privileged: '), [
    // wait-gcs-ready is a copy of its Ray container: the same place, said once
    'rayguard: spec.headGroupSpec.template.spec.containers[0], ' +
      'spec.workerGroupSpecs[1].template.spec.initContainers[0] and 1 more: violates restricted: ' +
      'privileged: must not set securityContext.privileged=true'
  ])
  t.match(outcome, { kind: 'RayCluster', result: 'violates', namespace: 'team-a', dryRun: false })
  t.ok(outcome?.ids.includes('privileged'), 'with the ids of the checks')
  const [first] = warnings
  t.match(first, 'violates restricted', 'the weightiest first')
  const mends = 'Rayguard mends allowPrivilegeEscalation, capabilities_restricted'
  const places = of(mends).join('\n')
  for (const place of ['headGroupSpec.template.spec.containers[1]', 'autoscalerOptions'])
    t.match(places, `spec.${place}`, `${place} is mended`)
  t.notMatch(places, 'spec.workerGroupSpecs[1]', 'what asks for a privilege is not')
  t.strictSame(auditAnnotations, { modes: 'tls=tls pod-security=warn' })
  t.strictSame(said(asked('RayCluster', clusterSpec())).warnings, [], 'nothing of a safe one')
  t.end()
})

t.test('a place is where the resource of each kind and version has it', t => {
  const spec = clusterSpec({ workerGroupSpecs: [group('small', [privileged])] })
  const submitterPodTemplate = template([privileged]).template
  const kinds: [string, object, string[]][] = [
    ['RayCluster', spec, ['spec.workerGroupSpecs[0]']],
    ['RayService', { rayClusterConfig: spec }, ['spec.rayClusterConfig.workerGroupSpecs[0]']],
    [
      'RayJob',
      { rayClusterSpec: spec, submitterPodTemplate },
      ['spec.rayClusterSpec.workerGroupSpecs[0]', 'spec.submitterPodTemplate.spec']
    ],
    [
      'RayCronJob',
      { jobTemplate: { rayClusterSpec: spec } },
      ['spec.jobTemplate.rayClusterSpec.workerGroupSpecs[0]']
    ]
  ]
  for (const [kind, of, places] of kinds)
    for (const version of ['v1', 'v1alpha1']) {
      const object = { apiVersion: `ray.io/${version}`, kind, metadata: { name: 'demo' }, spec: of }
      const { text } = said(review(object, { kind: { group: 'ray.io', version, kind } }))
      for (const place of places)
        t.match(text, new RegExp(`${place.replaceAll(/[[\]]/g, '\\$&')}.*privileged`), kind)
    }
  const { text } = said(asked('RayJob', { rayClusterSpec: clusterSpec() }))
  t.match(text, 'the submitter that KubeRay makes: Rayguard mends', 'where there is no place')
  const options = { enableInTreeAutoscaling: true, autoscalerOptions: context({ runAsUser: 0 }) }
  t.match(
    said(asked('RayService', { rayClusterConfig: clusterSpec(options) })).text,
    'spec.rayClusterConfig.autoscalerOptions.securityContext: violates restricted: runAsUser'
  )
  const seccomp = { securityContext: { seccompProfile: { type: 'Unconfined' } } }
  t.match(
    said(asked('RayCluster', clusterSpec({ headGroupSpec: template([ray()], seccomp) }))).text,
    'spec.headGroupSpec.template.spec: violates restricted: seccompProfile_restricted',
    'of the pod itself'
  )
  t.end()
})

t.test('the modes of the namespace decide what is said, and nothing is refused here', t => {
  const bad = asked('RayCluster', clusterSpec({ headGroupSpec: template([privileged]) }))
  const enforce = said(bad, { podSecurity: 'enforce' })
  t.match(enforce.text, /containers\[0\]: its pods will be refused: privileged: /)
  t.equal(enforce.outcome?.result, 'refused')
  const audit = said(bad, { podSecurity: 'audit' })
  t.notMatch(audit.text, 'privileged', 'whoever chose audit reads the audit log')
  t.match(audit.auditAnnotations?.['pod-security-violations'], /containers\[0\].*privileged/)
  t.strictSame(said(bad, { podSecurity: 'off' }).warnings, [], 'off')
  t.equal(said(bad, { podSecurity: 'off' }).outcome?.result, 'nothing')

  const labels = { 'rayguard.dev/tls': 'require' }
  const misspelt = said(bad, { namespaceLabels: labels })
  t.match(misspelt.text, 'its pods will be refused: NamespaceLabel: ', 'a label nobody knows')
  t.equal(misspelt.outcome?.result, 'unread')

  const variables = [{ name: 'RAY_USE_TLS', value: '0' }]
  const withoutTls = clusterSpec({ headGroupSpec: template([ray({ ...safe, env: variables })]) })
  const refused = said(asked('RayCluster', withoutTls))
  t.match(refused.text, /headGroupSpec.*its pods will be refused: TlsVariables: /, 'TLS, too')
  t.strictSame(said(asked('RayCluster', withoutTls), { tls: 'no-tls' }).warnings, [])

  const safeCluster = asked('RayCluster', clusterSpec(), {}, { uid: 'u' })
  const live = (tls: 'tls' | 'required') =>
    validate(safeCluster, { tls }, settings, 'none').answer.response.warnings?.join()
  t.match(live('tls'), /LiveClusterWithoutTls: .*runs without it/, 'the cluster runs without TLS')
  t.match(live('required'), /its pods will be refused: LiveClusterWithoutTls/)
  const sudo = { lifecycle: { postStart: { exec: { command: ['sudo', 'true'] } } } }
  const calls = clusterSpec({ headGroupSpec: template([ray({ ...safe, ...sudo })]) })
  t.match(said(asked('RayCluster', calls)).text, /containers\[0\]: Sudo: /, 'a notice')
  const images = clusterSpec({ headGroupSpec: template([{ ...ray(), image: 'own:1' }]) })
  t.match(said(asked('RayCluster', images)).text, /containers\[0\]: UnknownUser: /)
  t.end()
})

t.test('only who can change something is told', t => {
  const spec = clusterSpec({ headGroupSpec: template([privileged]) })
  const object = (of: object, metadata: object = {}) => ({
    ...{ apiVersion: 'ray.io/v1', kind: 'RayCluster', metadata: { name: 'demo', ...metadata } },
    spec: of
  })
  const kind = { group: 'ray.io', version: 'v1', kind: 'RayCluster' }
  const owner = { apiVersion: 'ray.io/v1', kind: 'RayJob', name: 'j', uid: 'u', controller: true }
  const update = { kind, operation: 'UPDATE' }
  const quiet: [string, ReturnType<typeof review>][] = [
    ['what KubeRay makes', review(object(spec, { ownerReferences: [owner] }), { kind })],
    [
      'labels, finalizers and status',
      review(object(spec, { labels: { a: 'b' } }), { ...update, oldObject: object(spec) })
    ],
    [
      'fields of no value',
      review(object({ ...spec, autoscalerOptions: { env: [] }, managedBy: null }), {
        ...update,
        oldObject: object({ ...spec, headGroupSpec: { ...spec.headGroupSpec, rayStartParams: {} } })
      })
    ],
    ['its end', review(null, { kind, operation: 'DELETE', oldObject: object(spec) })],
    ['its status', review(object(spec), { ...update, subResource: 'status' })],
    ['another group', review(object(spec), { kind: { ...kind, group: 'other.io' } })],
    ['another kind', review(object(spec), { kind: { ...kind, kind: 'RayThing' } })],
    ['a pod', review({ ...object(spec), kind: 'Pod' })],
    ['something else', review({ ...object(spec), kind: 'Pod' }, { kind })],
    ['nothing', review(undefined, { kind })]
  ]
  for (const [name, of] of quiet) {
    const { answer, outcome } = validate(of, {}, settings)
    t.strictSame(answer.response, { uid: of.request.uid, allowed: true }, name)
    t.equal(outcome, undefined, 'and not counted')
  }
  const oldObject = object(clusterSpec())
  t.match(said(review(object(spec), { ...update, oldObject })).text, 'privileged', 'a new spec')
  t.match(
    said(review(object(spec, { ownerReferences: [{ ...owner, apiVersion: 'argo/v1' }] }), { kind }))
      .text,
    'privileged',
    'of another owner'
  )
  t.end()
})

t.test('what cannot be foretold is said, and let through', t => {
  const unread: [string, object, RegExp][] = [
    ['no spec', {}, /spec\.headGroupSpec must be an object, found nothing/],
    ['no containers', clusterSpec({ headGroupSpec: template([]) }), /containers must be a list/],
    ['no groups', clusterSpec({ workerGroupSpecs: {} }), /spec\.workerGroupSpecs must be a list/]
  ]
  for (const [name, spec, reason] of unread) {
    const { text, outcome } = said(asked('RayCluster', spec))
    t.match(text, reason, name)
    t.equal(outcome?.result, 'unread', 'and counted')
  }
  t.match(
    said(asked('RayJob', { rayClusterSpec: clusterSpec(), submissionMode: 'Other' })).text,
    /spec\.submissionMode must be K8sJobMode/
  )
  t.end()
})

t.test('attack 36: an enormous resource is a short work and a short answer', t => {
  const groups = (count: number) =>
    Array.from({ length: count }, (_, index) => group(`group-${index}`, [privileged]))
  const some = said(asked('RayCluster', clusterSpec({ workerGroupSpecs: groups(499) })))
  t.match(some.warnings[0], /\d{3} of its pods were not looked at: .*more than 300 containers/)
  t.match(some.text, /and \d+ more: violates restricted: privileged/, 'the others are')
  const many = said(asked('RayCluster', clusterSpec({ workerGroupSpecs: groups(501) })))
  t.match(many.text, /at most 500 worker groups, found a list of 501/)
  const containers = Array.from({ length: 400 }, (_, index) => ({ ...ray(), name: `c${index}` }))
  const wide = said(asked('RayCluster', clusterSpec({ headGroupSpec: template(containers) })))
  t.equal(wide.outcome?.result, 'unread', 'a single pod of too many containers')
  const env = Array.from({ length: 20_000 }, (_, index) => ({ name: `V${index}`, value: 'x' }))
  const large = clusterSpec({ headGroupSpec: template([ray({ env })]) })
  t.match(said(asked('RayCluster', large)).text, 'nothing was looked at: its spec has more than')
  let deep: unknown = 'x'
  for (let depth = 0; depth < 100_000; depth += 1) deep = { deep }
  const nested = clusterSpec({ deep })
  t.match(said(asked('RayCluster', nested)).text, 'nothing was looked at')
  const oldObject = { spec: nested }
  const changed = asked('RayCluster', clusterSpec(), { operation: 'UPDATE', oldObject })
  t.match(said(changed).text, 'nothing was looked at', 'nor as it was before')

  const names = groups(100).map((each, index) => {
    const add = [`${'Ü'.repeat(50)}${index}\n\u001b[31m`]
    const asks = context({ capabilities: { add }, runAsUser: 0 })
    return { ...each, groupName: 'n'.repeat(63), ...template([ray(asks)]) }
  })
  for (const podSecurity of ['enforce', 'warn', 'audit'] as const) {
    const of = asked('RayCluster', clusterSpec({ workerGroupSpecs: names }))
    const { warnings, auditAnnotations = {} } = said(of, { podSecurity })
    t.ok(
      warnings.every(text => text.length <= 256),
      `${podSecurity}: each warning is short`
    )
    t.ok(warnings.join('').length <= 4096, 'and all together fit')
    const texts = [...warnings, ...Object.values(auditAnnotations)]
    t.match(texts.join(''), /^[\x20-\x7e]*$/, 'printable ASCII')
    if (podSecurity !== 'audit')
      t.match(warnings.at(-1), /^rayguard: \d+ more$/, 'the rest is counted')
  }
  t.end()
})

t.test('attack 36: whatever stands in a resource, it is let through with an answer', t => {
  const kinds = ['RayCluster', 'RayJob', 'RayService', 'RayCronJob']
  const specs = [
    clusterSpec({ enableInTreeAutoscaling: true, autoscalerOptions: context({ runAsUser: 0 }) }),
    { rayClusterSpec: clusterSpec(), submitterPodTemplate: template().template },
    { rayClusterConfig: clusterSpec() },
    { jobTemplate: { rayClusterSpec: clusterSpec() } }
  ]
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), fc.nat(), fc.nat(3), (junk, place, which) => {
      const of = structuredClone(asked(kinds[which] as string, specs[which] as object))
      const nodes: Record<string, unknown>[] = []
      const collect = (value: unknown) => {
        if (typeof value !== 'object' || value === null) return
        nodes.push(value as Record<string, unknown>)
        for (const child of Object.values(value)) collect(child)
      }
      collect(of.request.object)
      const node = nodes[place % nodes.length] as Record<string, unknown>
      const keys = Object.keys(node)
      const value = junk
      const key = keys[place % Math.max(1, keys.length)]
      if (key !== undefined) Object.defineProperty(node, key, { value, enumerable: true })
      const { warnings } = said(of)
      if (warnings.some(text => text.length > 256)) throw new Error('a long warning')
    }),
    { numRuns: 2000 }
  )
  t.end()
})

t.test('over HTTP', async t => {
  const outcomes: ValidationOutcome[] = []
  const waits: string[] = []
  const labels: Record<string, Record<string, string>> = {
    'team-a': { 'rayguard.dev/pod-security': 'enforce' }
  }
  const app = fastify()
  await app.register(admissionRoutes, {
    admit: () => {
      throw new Error('of pods, not of Ray resources')
    },
    observe() {},
    labelsOf: namespace => labels[namespace],
    async whenKnown(namespace) {
      waits.push(namespace)
      return namespace === 'late' ? {} : undefined
    },
    knowsClusters: ({ request }) => request.namespace !== 'lost',
    validate: (of, requested) => validate(of, requested, settings),
    observeValidation: outcome => outcomes.push(outcome)
  })
  t.teardown(() => app.close())
  const post = async (url: string, payload: unknown) => {
    const body = typeof payload === 'string' ? payload : JSON.stringify(payload)
    const headers = { 'content-type': 'application/json' }
    const reply = await app.inject({ method: 'POST', url, body, headers })
    return { status: reply.statusCode, body: reply.json() as Record<string, never> }
  }
  const bad = (namespace = 'team-a') =>
    asked('RayCluster', clusterSpec({ headGroupSpec: template([privileged]) }), { namespace })
  const result = async (url: string, payload: unknown) => {
    const { status, body } = await post(url, payload)
    t.match({ status, body }, { status: 200, body: { response: { allowed: true } } }, url)
    return outcomes.at(-1)?.result
  }
  t.equal(await result('/validate', bad()), 'refused', 'labels of the namespace')
  t.equal(await result('/validate/warn', bad()), 'violates', 'the path stands before them')
  t.equal(await result('/validate', bad('late')), 'violates', 'a namespace that is new')
  t.equal(await result('/validate', bad('unknown')), 'unread', 'not known: nobody is held up')
  t.equal(await result('/validate/off/no-tls', bad('unknown')), 'nothing', 'not needed')
  t.equal(await result('/validate/off/tls', bad('lost')), 'unread', 'its running pods are')
  t.equal(await result('/validate/off/no-tls', bad('lost')), 'nothing', 'nor they without TLS')
  const hostile = JSON.stringify(bad()).replace('"headGroupSpec"', '"__proto__"')
  t.equal(await result('/validate', hostile), 'unread', 'attack 39: a forbidden key')
  const count = outcomes.length
  await result('/validate', review({}, { namespace: 'unknown' }))
  const foreign = review(
    {},
    { kind: { group: 'ray.io', version: 'v1', kind: `X${'x'.repeat(99)}` } }
  )
  await result(
    '/validate',
    JSON.stringify(foreign).replace('"object":{', '"object":{"__proto__":1')
  )
  t.equal(outcomes.length, count, 'what is not of Ray is let through')
  t.strictSame(waits, ['late', 'unknown'], 'and waits for nothing')
  t.equal((await post('/validate/strict', bad())).status, 404, 'an unknown mode')
  t.match(await post('/validate', { kind: 'Pod' }), { status: 400, body: { kind: 'Status' } })
  t.match(await post('/validate', '{'), { status: 400, body: { kind: 'Status' } })
})
