/** Holds the pods that a dry run foretells against those that the real operator has made. */
import type { Test } from 'tap'
import type { AdmissionReview } from '../../src/admission/review.ts'
import type { Container, KubernetesObject, Pod } from '../../src/kubernetes/objects.ts'
import { dryRun } from '../../src/preview/dry-run.ts'
import type { DryRunResult } from '../../src/preview/schemas.ts'
import { injectionSettings } from './builders.ts'

interface Made {
  objects: KubernetesObject[]
  reviews: AdmissionReview[]
  /** Of the head, without their namespace. */
  headServices: string[]
}

interface Tried {
  submitted: Pod
  result: DryRunResult
}

export function checkForetold(t: Test, { objects, reviews, headServices }: Made): void {
  const resources = objects.filter(({ apiVersion }) => apiVersion?.startsWith('ray.io/'))
  const foretold = tryAll(resources)
  // Once for each pod, before Rayguard has seen it.
  const made = tryAll(reviews).filter(
    ({ submitted }) => !submitted.spec.initContainers?.some(({ name }) => /^rayguard/.test(name))
  )
  t.ok(made.length > 0, 'there are pods of the operator')
  for (const real of made) {
    const role = roleOf(real)
    const twin = foretold.find(each => roleOf(each) === role)
    t.ok(twin, `${role} is foretold`)
    if (twin === undefined) continue
    t.strictSame(piecesOf(twin), piecesOf(real), `${role}: as the operator makes it`)
    if (real.result.node === 'head') checkNames(t, twin, headServices)
  }
  const roles = new Set(made.map(roleOf))
  const more = foretold.map(roleOf).filter(role => !roles.has(role) && role.startsWith('head'))
  t.strictSame(more, [], 'no head is foretold that there is not')
}

function tryAll(values: readonly unknown[]): Tried[] {
  const options = { settings: injectionSettings(), clusterDomain: 'cluster.local' }
  const run = dryRun(values.map(value => JSON.stringify(value)).join('\n'), options)
  if ('problem' in run) throw new Error(run.problem.message)
  return run.results.map((result, index) => ({ result, submitted: run.submitted[index] as Pod }))
}

function roleOf({ result, submitted }: Tried): string {
  return `${result.node} ${submitted.metadata.labels?.['ray.io/group'] ?? ''}`
}

/** What is said of the containers, of what was done to them, and of what stands against them. */
function piecesOf({ submitted, result }: Tried) {
  const pod = result.pod as Pod
  return {
    submitted: shapeOf(submitted),
    after: shapeOf(pod),
    ours: listed(pod).map(({ name, env, volumeMounts }) => ({
      name,
      variables: env
        ?.map(each => each.name)
        .filter(each => /^RAY_(USE_)?TLS|^RAYGUARD_/.test(each)),
      mounts: (volumeMounts ?? []).filter(({ name: volume }) => /^rayguard-/.test(volume))
    })),
    report: pod.metadata.annotations?.['rayguard.dev/report'],
    warnings: result.warnings,
    podSecurity: result.podSecurity,
    addresses: result.certificate?.ipAddresses
  }
}

function shapeOf({ spec }: Pod) {
  return {
    containers: spec.containers.map(containerShape),
    initContainers: (spec.initContainers ?? []).map(containerShape),
    securityContext: filled(spec.securityContext),
    volumes: (spec.volumes ?? []).map(({ name }) => name).filter(name => !/^kube-api-/.test(name)),
    restartPolicy: spec.restartPolicy === 'Never' ? 'Never' : 'Always'
  }
}

function containerShape({ name, image, securityContext }: Container) {
  return { name, image, securityContext: filled(securityContext) }
}

function listed({ spec }: Pod): Container[] {
  return [...(spec.initContainers ?? []), ...spec.containers]
}

/** The API server writes an empty one where there is none. */
function filled(value: object | null | undefined): object | undefined {
  return value && Object.keys(value).length > 0 ? value : undefined
}

function checkNames(t: Test, { result, submitted }: Tried, services: string[]): void {
  const drawn = /-[a-z0-9]{5}(?=-head-svc)/
  const domain = `${submitted.metadata.namespace}.svc.cluster.local`
  const names = (result.certificate?.dnsNames ?? []).filter(name => name !== 'localhost')
  const isDrawn = names.some(name => name.includes('-xxxxx-'))
  const wanted = services.map((service, index) =>
    isDrawn && index === 0 ? service.replace(drawn, '-xxxxx') : service
  )
  t.strictSame(
    names,
    wanted.map(service => `${service}.${domain}`),
    'the names of its certificate'
  )
}
