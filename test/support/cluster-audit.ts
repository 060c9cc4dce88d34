/** What the API server's audit log says about the webhooks of one request. */
import { readFile } from 'node:fs/promises'
import { eventually } from './cluster.ts'

export interface WebhookCall {
  /** 0: the first pass; 1: asked again, because a later webhook has changed the object. */
  round: number
  configuration: string
  webhook: string
  mutated: boolean
  /** The paths that its patch touched. */
  paths: string[]
}

interface AuditEvent {
  verb: string
  stage?: string
  user?: { username?: string }
  responseStatus?: { code?: number }
  objectRef?: { namespace?: string; name?: string; subresource?: string }
  requestObject?: { metadata?: { name?: string } }
  annotations?: Record<string, string>
}

/** The calls of webhooks on the creation of a pod with this name, in their order. */
export async function callsOnCreation(namespace: string, name: string): Promise<WebhookCall[]> {
  return callsOf((await creation(namespace, name)).annotations ?? {})
}

/** What Rayguard itself had written there about the creation of a pod or a Ray resource, by key. */
export async function auditedOnCreation(
  namespace: string,
  name: string
): Promise<Record<string, string>> {
  const { annotations = {} } = await creation(namespace, name)
  const prefix = /^(pods|resources)\.rayguard\.dev\//
  return Object.fromEntries(
    Object.entries(annotations).flatMap(([key, value]) =>
      prefix.test(key) ? [[key.replace(prefix, ''), value]] : []
    )
  )
}

/** Names of the pods of a namespace that the API server was asked to evict by a user, and what it answered. */
export async function evictionsBy(
  user: string,
  namespace: string
): Promise<{ pod: string; status: number }[]> {
  return (await events()).flatMap(({ stage, user: by, objectRef, responseStatus }) =>
    stage === 'ResponseComplete' &&
    by?.username === user &&
    objectRef?.namespace === namespace &&
    objectRef.subresource === 'eviction'
      ? [{ pod: objectRef.name ?? '', status: responseStatus?.code ?? 0 }]
      : []
  )
}

async function creation(namespace: string, name: string): Promise<AuditEvent> {
  return await eventually(`the audit log knows ${namespace}/${name}`, async () =>
    (await events()).find(
      ({ verb, objectRef, requestObject }) =>
        verb === 'create' &&
        objectRef?.namespace === namespace &&
        objectRef.subresource === undefined &&
        (objectRef.name ?? requestObject?.metadata?.name) === name
    )
  )
}

async function events(): Promise<AuditEvent[]> {
  const text = await readFile(process.env.RAYGUARD_TEST_AUDIT_LOG ?? '', 'utf8')
  const lines = text.split('\n').slice(0, -1)
  return lines.map(line => JSON.parse(line))
}

function callsOf(annotations: Record<string, string>): WebhookCall[] {
  const calls: WebhookCall[] = []
  for (const [key, value] of Object.entries(annotations).sort()) {
    const [, round, index] =
      /^mutation\.webhook\.admission\.k8s\.io\/round_(\d+)_index_(\d+)$/.exec(key) ?? []
    if (round === undefined) continue
    const patch = annotations[`patch.webhook.admission.k8s.io/round_${round}_index_${index}`]
    const operations: { path: string }[] = patch === undefined ? [] : JSON.parse(patch).patch
    calls.push({
      ...JSON.parse(value),
      round: Number(round),
      paths: operations.map(({ path }) => path)
    })
  }
  return calls
}
