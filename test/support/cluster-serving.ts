/** The two serving Secrets of a real installation, changed as time would change them, and what each replica shows. */
import { randomBytes, X509Certificate } from 'node:crypto'
import type { ReplicaStatus } from '../../src/contract/status.ts'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import { advance } from '../../src/serving/advance.ts'
import { type Making, makeLeaf } from '../../src/serving/material.ts'
import { type Profile, profileOf } from '../../src/serving/profile.ts'
import {
  readState,
  type SecretData,
  type ServingState,
  writeState
} from '../../src/serving/state.ts'
import { type ClusterApi, eventually, retried } from './cluster.ts'
import { type Component, nameOf, readyReplicas, systemNamespace } from './cluster-replicas.ts'

type Secret = KubernetesObject & { data: SecretData }

/** A replica looks every ten seconds: in between the successor is announced, and everybody has heard of it. */
const announcedMs = 15_000

const secretOf = (component: Component) =>
  `/api/v1/namespaces/${systemNamespace}/secrets/rayguard-${component}-serving`

/** A server certificate that lacks one of its names, as from before a change of the cluster's domain. */
export function makeLeafDue(api: ClusterApi, component: Component): Promise<void> {
  return change(api, component, async (state, making) => {
    const { authority, cross } = state
    if (authority === undefined) throw new Error(`${component} has no CA`)
    const dnsNames = making.profile.dnsNames.slice(0, 1)
    const profile = { ...making.profile, dnsNames }
    return { ...state, leaf: await makeLeaf(authority, cross, { ...making, profile }) }
  })
}

/** The successor of the CA, made almost so long ago that it may sign. */
export function makeSuccessorDue(api: ClusterApi, component: Component): Promise<void> {
  return change(api, component, (state, making) => {
    const now = making.now - making.profile.settleMs + announcedMs
    return advance('prepare', state, { ...making, now })
  })
}

export async function deleteSecret(api: ClusterApi, component: Component): Promise<void> {
  await api.delete(secretOf(component))
}

export async function secretData(
  api: ClusterApi,
  component: Component
): Promise<SecretData | undefined> {
  return (await api.find<Secret>(secretOf(component)))?.data
}

/** The serial number that all ready replicas show, once it is the same and none of `former`. */
export function shownByAll(
  api: ClusterApi,
  component: Component,
  ...former: string[]
): Promise<string> {
  return eventually(`all replicas of ${component} show one new certificate`, async () => {
    const pods = await readyReplicas(api, component)
    const shown = await Promise.all(pods.map(pod => shownBy(api, component, nameOf(pod))))
    const [one, ...others] = new Set(shown)
    return one !== undefined && others.length === 0 && !former.includes(one) && one
  })
}

async function shownBy(api: ClusterApi, component: Component, pod: string): Promise<string> {
  const { servingCertificates } = await statusOf(api, pod)
  return new X509Certificate(servingCertificates[component] ?? '').serialNumber
}

/** When no replica signs by the CA `former` any longer: each of them reads its file for itself. */
export async function signedByNone(api: ClusterApi, former: string): Promise<void> {
  await eventually('every replica signs by another CA', async () => {
    const pods = await readyReplicas(api, 'enrollment')
    const answers = await Promise.all(pods.map(pod => statusOf(api, nameOf(pod))))
    const anchors = answers.map(({ authority }) => authority?.anchorSha256)
    return anchors.length > 0 && anchors.every(anchor => anchor !== undefined && anchor !== former)
  })
}

function statusOf(api: ClusterApi, pod: string): Promise<ReplicaStatus> {
  return api.get(`/api/v1/namespaces/${systemNamespace}/pods/${pod}:8080/proxy/status`)
}

/** Read and replaced; again, should a replica have written in between. */
async function change(
  api: ClusterApi,
  component: Component,
  next: (state: ServingState, making: Making & { profile: Profile }) => Promise<ServingState>
): Promise<void> {
  const profile = profileOf(component, {
    namespace: systemNamespace,
    clusterDomain: 'cluster.local'
  })
  await retried(async () => {
    const secret = await api.get<Secret>(secretOf(component))
    const making = { profile, now: Date.now(), random: randomBytes }
    const state = await next(readState(secret.data).state, making)
    await api.replace(secretOf(component), { ...secret, data: writeState(state) })
  })
}
