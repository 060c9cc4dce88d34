/**
 * What Prometheus may know: counts by outcome, durations, expiry dates.
 *
 * Decides the names and labels. No label ever holds a pod, cluster, namespace or address: their number has no bound.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

export interface AdmissionObservation {
  /** What the pod is to KubeRay, or `none`. */
  kind: string
  /** `Allowed`, or the code of the refusal. */
  code: string
}

export interface ValidationObservation {
  /** Of the Ray resource. */
  kind: string
  /** The weightiest of what was said of its pods. */
  result: string
}

export interface IssuanceObservation {
  /** `Issued`, or the code of the refusal. */
  code: string
  seconds: number
}

export interface DryRunObservation {
  /** `Answered`, or the code of the error. */
  code: string
  seconds: number
}

export type ReloadedThing = 'serving' | 'serverCa' | 'authority' | 'alsoTrusted'

/** `serving`: of a listener. `server-ca`: what pods trust for enrollment. */
export type CertificateName =
  | 'webhook-serving'
  | 'webhook-serving-ca'
  | 'enrollment-serving'
  | 'enrollment-serving-ca'
  | 'preview-serving'
  | 'server-ca'
  | 'authority'

export interface Metrics {
  admission(observation: AdmissionObservation): void
  admissionDuration(seconds: number): void
  /** A pod that still violates Pod Security `restricted`; `checks`: ids, each once. */
  violations(checks: Iterable<string>): void
  validation(observation: ValidationObservation): void
  issuance(observation: IssuanceObservation): void
  dryRun(observation: DryRunObservation): void
  /** The status of a reply of one of the HTTPS listeners. */
  reply(listener: string, status: number): void
  event(reason: string, result: string): void
  /** What became of the CA of a RayCluster. */
  clusterCa(change: string): void
  certificateExpiry(certificate: CertificateName, notAfter: Date): void
  reload(thing: ReloadedThing | 'clientCa', result: 'done' | 'failed'): void
  /** What was told of it, RFC 3339 by name. */
  certificateExpiries(): Record<string, string>
  /** One request for a client certificate was answered. */
  clientCertificate(code: string): void
  /** A number that `read` gives whenever metrics are read. */
  gauge(name: string, help: string, read: () => number): void
  /** The same for each value of one label; few and known values alone. */
  gauges(name: string, help: string, label: string, read: () => Record<string, number>): void
  /** Counts one; for each value of one label, few and known ones alone. */
  counter<V extends string>(name: string, help: string, label: string): (value: V) => void
  /** `passes` is asked whenever metrics are read. */
  check(name: string, passes: () => boolean): void
  contentType: string
  /** In Prometheus' text format. */
  text(): Promise<string>
}

export function createMetrics(options: { version: string }): Metrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]

  new Gauge({
    name: 'rayguard_info',
    help: 'Always 1; the version is a label.',
    labelNames: ['version'],
    registers
  }).set({ version: options.version }, 1)
  const admissions = new Counter({
    name: 'rayguard_admissions_total',
    help: 'Admission reviews answered, by what the pod is to KubeRay and by outcome.',
    labelNames: ['kind', 'code'],
    registers
  })
  const admissionSeconds = new Histogram({
    name: 'rayguard_admission_duration_seconds',
    help: 'Time to decide on an admission review, without the network.',
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5],
    registers
  })
  const violations = new Counter({
    name: 'rayguard_pod_security_violations_total',
    help: 'Pods that violate a check of Pod Security restricted after what could be mended, whatever became of them.',
    labelNames: ['check'],
    registers
  })
  const validations = new Counter({
    name: 'rayguard_resource_reviews_total',
    help: 'Ray resources of which it was said what will become of their pods, by the weightiest of it.',
    labelNames: ['kind', 'result'],
    registers
  })
  const issuances = new Counter({
    name: 'rayguard_certificate_requests_total',
    help: 'Requests of pods for certificates, by outcome.',
    labelNames: ['code'],
    registers
  })
  const issuanceSeconds = new Histogram({
    name: 'rayguard_certificate_request_duration_seconds',
    help: 'Time to answer a request for a certificate, the questions to the Kubernetes API included.',
    labelNames: ['result'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers
  })
  const dryRuns = new Counter({
    name: 'rayguard_dry_runs_total',
    help: 'Dry runs asked of the preview listener, by outcome.',
    labelNames: ['code'],
    registers
  })
  const dryRunSeconds = new Histogram({
    name: 'rayguard_dry_run_duration_seconds',
    help: 'Time to answer a dry run, its wait for the others included.',
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30],
    registers
  })
  const clientCertificates = new Counter({
    name: 'rayguard_client_certificate_requests_total',
    help: 'Requests for client certificates that were answered, by outcome.',
    labelNames: ['code'],
    registers
  })
  const replies = new Counter({
    name: 'rayguard_http_replies_total',
    help: 'Replies of the HTTPS listeners, by status.',
    labelNames: ['listener', 'status'],
    registers
  })
  const events = new Counter({
    name: 'rayguard_events_total',
    help: 'Events told, by reason and by what became of them.',
    labelNames: ['reason', 'result'],
    registers
  })
  const clusterCas = new Counter({
    name: 'rayguard_cluster_ca_changes_total',
    help: 'CAs of single RayClusters that were made, renewed, restored, removed, or refused by the quota of their namespace.',
    labelNames: ['change'],
    registers
  })
  const expiry = new Gauge({
    name: 'rayguard_certificate_expiry_timestamp_seconds',
    help: 'When a certificate of our own ends, and with authority the CA: also those above it, where a file names them.',
    labelNames: ['certificate'],
    registers
  })
  const reloads = new Counter({
    name: 'rayguard_reloads_total',
    help: 'Attempts to read changed files; after a failed one the old content stays in use.',
    labelNames: ['thing', 'result'],
    registers
  })
  const expiries = new Map<string, string>()
  const checks = new Map<string, () => boolean>()
  new Gauge({
    name: 'rayguard_ready_check',
    help: '1 where a readiness check passes.',
    labelNames: ['check'],
    registers,
    collect() {
      for (const [check, passes] of checks) this.set({ check }, passes() ? 1 : 0)
    }
  })
  const kinds = bounded()
  const admissionCodes = bounded()
  const resourceKinds = bounded()
  const results = bounded()
  const issuanceCodes = bounded()
  const dryRunCodes = bounded()
  const violatedChecks = bounded()

  return {
    admission({ kind, code }) {
      admissions.inc({ kind: kinds(kind), code: admissionCodes(code) })
    },
    admissionDuration: seconds => admissionSeconds.observe(seconds),
    violations(checks) {
      for (const check of checks) violations.inc({ check: violatedChecks(check) })
    },
    validation({ kind, result }) {
      validations.inc({ kind: resourceKinds(kind), result: results(result) })
    },
    issuance({ code, seconds }) {
      issuances.inc({ code: issuanceCodes(code) })
      issuanceSeconds.observe({ result: code === 'Issued' ? 'issued' : 'refused' }, seconds)
    },
    dryRun({ code, seconds }) {
      dryRuns.inc({ code: dryRunCodes(code) })
      dryRunSeconds.observe(seconds)
    },
    clientCertificate(code) {
      clientCertificates.inc({ code })
    },
    reply(listener, status) {
      replies.inc({ listener, status: String(status) })
    },
    event(reason, result) {
      events.inc({ reason, result })
    },
    clusterCa(change) {
      clusterCas.inc({ change })
    },
    certificateExpiry(certificate, notAfter) {
      expiry.set({ certificate }, Math.floor(notAfter.getTime() / 1000))
      expiries.set(certificate, notAfter.toISOString())
    },
    certificateExpiries: () => Object.fromEntries(expiries),
    reload(thing, result) {
      reloads.inc({ thing, result })
    },
    gauge(name, help, read) {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read())
        }
      })
    },
    gauges(name, help, label, read) {
      new Gauge({
        name,
        help,
        labelNames: [label],
        registers,
        collect() {
          this.reset()
          for (const [value, number] of Object.entries(read())) this.set({ [label]: value }, number)
        }
      })
    },
    counter(name, help, label) {
      const counted = new Counter({ name, help, labelNames: [label], registers })
      return value => counted.inc({ [label]: value })
    },
    check(name, passes) {
      checks.set(name, passes)
    },
    contentType: registry.contentType,
    text: () => registry.metrics()
  }
}

/** Codes are few by their types. Should one ever carry a name, it must not become a time series for each pod. */
function bounded(maximum = 100): (value: string) => string {
  const seen = new Set<string>()
  return value => {
    if (seen.has(value)) return value
    if (seen.size >= maximum) return 'other'
    seen.add(value)
    return value
  }
}
