/** Whatever is in a file, a dry run answers: results, or what is wrong and where. */
import { performance } from 'node:perf_hooks'
import fc from 'fast-check'
import t from 'tap'
import { stringify } from 'yaml'
import { dryRun } from '../../src/preview/dry-run.ts'
import { headPod, injectionSettings, review, submitterPod, workerPod } from '../support/builders.ts'

const options = { settings: injectionSettings(), clusterDomain: 'cluster.local' }
const numRuns = 3000
const seed = Number(process.env.RAYGUARD_TEST_SEED ?? Math.trunc(performance.timeOrigin) % 2 ** 31)
t.comment(`seed ${seed}; RAYGUARD_TEST_SEED=${seed} repeats it`)

const clusterSpec = {
  enableInTreeAutoscaling: true,
  autoscalerOptions: { version: 'v2', env: [{ name: 'A', value: 'b' }], securityContext: {} },
  headGroupSpec: {
    headService: { metadata: { name: 'own-svc' } },
    template: {
      metadata: { labels: { team: 'a' }, annotations: { 'rayguard.dev/tls-containers': 'ray' } },
      spec: {
        initContainers: [{ name: 'first', image: 'first:1', env: [] }],
        containers: [{ name: 'ray', image: 'ray:1', env: [{ name: 'A', value: 'b' }] }],
        volumes: [{ name: 'v', emptyDir: {} }]
      }
    }
  },
  workerGroupSpecs: [
    { groupName: 'small', template: { spec: { containers: [{ name: 'ray', volumeMounts: [] }] } } }
  ]
}
const resource = (kind: string, spec: object) => ({
  apiVersion: 'ray.io/v1',
  kind,
  metadata: { name: 'demo', namespace: 'team' },
  spec
})
const seeds = [
  headPod(),
  workerPod(),
  submitterPod(),
  review(workerPod()),
  review(
    { ...workerPod(), spec: { ...workerPod().spec, ephemeralContainers: [{ name: 'debugger' }] } },
    { operation: 'UPDATE', subResource: 'ephemeralcontainers', oldObject: workerPod() }
  ),
  { apiVersion: 'v1', kind: 'List', items: [headPod(), resource('RayCluster', clusterSpec)] },
  resource('RayCluster', clusterSpec),
  resource('RayJob', { submissionMode: 'SidecarMode', rayClusterSpec: clusterSpec }),
  resource('RayJob', {
    rayClusterSpec: clusterSpec,
    submitterPodTemplate: { spec: { containers: [{ name: 'mine' }] } }
  }),
  resource('RayService', { rayClusterConfig: clusterSpec }),
  resource('RayCronJob', { jobTemplate: { rayClusterSpec: clusterSpec } })
]

const odd = fc.oneof(
  fc.constantFrom(null, '', '__proto__', 'constructor', -1, 1e300, true, [], {}, [null], [[]]),
  fc.constant(JSON.parse('{"__proto__": {"polluted": true}}')),
  fc.jsonValue({ maxDepth: 2 })
)

/** One place of `value` becomes `replacement`, or goes away. */
function changed(value: unknown, choices: number[], replacement: unknown): unknown {
  if (typeof value !== 'object' || value === null) return replacement
  const keys = Object.keys(value)
  const [choice = 0, ...rest] = choices
  if (keys.length === 0 || choices.length === 0) return replacement
  const key = keys[choice % keys.length] as string
  const child = changed((value as Record<string, unknown>)[key], rest, replacement)
  if (Array.isArray(value))
    return value.map((each, index) => (String(index) === key ? child : each))
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, each]) =>
      name !== key ? [[name, each]] : child === undefined ? [] : [[name, child]]
    )
  )
}

const choices = fc.array(fc.nat(1000), { minLength: 1, maxLength: 12 })
const mutated = fc
  .tuple(
    fc.constantFrom(...seeds),
    fc.array(fc.tuple(choices, fc.option(odd, { nil: undefined })), { minLength: 1, maxLength: 3 })
  )
  .map(([start, changes]) =>
    changes.reduce<unknown>(
      (value, [path, replacement]) => changed(value, path, replacement),
      start
    )
  )

function answers(text: string): void {
  const run = dryRun(text, options)
  if ('problem' in run) {
    const { line, column, message } = run.problem
    if (line < 1 || column < 1 || message === '') throw new Error(JSON.stringify(run.problem))
    return
  }
  for (const { allowed, message, source } of run.results) {
    if (!allowed && !message) throw new Error('a refusal without a word')
    if (/[\r\n]/.test(source)) throw new Error('a source of two lines')
  }
  JSON.stringify(run.results)
}

t.test('objects of odd shapes, as JSON', async () => {
  fc.assert(
    fc.property(mutated, value => answers(JSON.stringify(value) ?? 'null')),
    { numRuns, seed }
  )
})

t.test('the same as YAML', async () => {
  fc.assert(
    fc.property(mutated, value => answers(stringify(value))),
    { numRuns: numRuns / 5, seed }
  )
})

t.test('texts that are cut, doubled and mixed up', async () => {
  const text = fc.constantFrom(
    ...seeds.flatMap(value => [
      JSON.stringify(value),
      stringify(value),
      JSON.stringify(value, null, 1)
    ])
  )
  const junk = fc.oneof(
    fc.constantFrom(
      '\u0000',
      '\uFEFF',
      '\t',
      '\r\n',
      '---\n',
      '&a *a',
      '<<: *b\n',
      '{',
      ']',
      '"',
      '%YAML 9.9\n'
    ),
    fc.string({ unit: 'binary', maxLength: 3 })
  )
  fc.assert(
    fc.property(text, fc.nat(), fc.nat(60), junk, (whole, at, length, more) => {
      const place = at % whole.length
      answers(whole.slice(0, place) + more + whole.slice(place + length))
    }),
    { numRuns, seed }
  )
})

t.test('nothing has reached the prototype of objects', async t => {
  t.equal(({} as { polluted?: boolean }).polluted, undefined)
})
