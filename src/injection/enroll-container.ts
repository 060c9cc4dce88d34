/**
 * Rayguard's own init container: how it looks, and how one that is there already is brought to that look.
 *
 * Compares only the fields that we set. The API server defaults what was injected, a LimitRange and other webhooks extend
 * it, and an earlier version of ours may have written it: none of that is a reason to refuse a pod.
 */
import { enrollMounts, foreignCode, foreignMount } from '../contract/enroll-container.ts'
import { agentVariables, enrollCommand, enrollContainer } from '../contract/pod.ts'
import type { Container, EnvVar, Pod } from '../kubernetes/objects.ts'
import type { Edits } from './edits.ts'
import type { KeyReaders } from './key-group.ts'
import { putMount, refuseMount } from './mounts.ts'
import { type Refusal, refuse } from './outcome.ts'
import { isSameQuantity } from './quantity.ts'
import { quote } from './quote.ts'
import type { InjectionSettings } from './settings.ts'
import { putVariables } from './variables.ts'

/** Undefined unless something else carries the name. */
export function refuseForeignEnrollContainer(
  pod: Pod,
  settings: InjectionSettings
): Refusal | undefined {
  if (pod.spec.containers.some(isEnroll)) return reserved('it stands among the containers')
  const found = pod.spec.initContainers?.find(isEnroll)
  if (found === undefined) return undefined
  const command = isSameList(found.command, enrollCommand)
  if (!command && !isOurImage(found.image, settings)) {
    return reserved("its image and its command are not Rayguard's")
  }
  if (found.args?.length) return reserved('it has arguments')
  if (found.restartPolicy) return reserved('it has a restartPolicy')
  const foreign = foreignCode(found) ?? oddVariable(found)
  if (foreign) return reserved(foreign)
  const conflict = foreignMount(found)
  return conflict && refuseMount(found, conflict.mount, conflict.place)
}

const ownVariables: ReadonlySet<string> = new Set(Object.values(agentVariables))

/** One of ours that stands twice is not from us or any webhook, and would make the patch as long as one likes. */
function oddVariable({ env }: Container): string | undefined {
  const seen = new Set<string>()
  for (const { name } of env ?? []) {
    if (!name.startsWith('RAYGUARD_')) continue
    if (!ownVariables.has(name))
      return `it sets ${quote(name)}, which is none of Rayguard's variables`
    if (seen.has(name)) return `it sets ${quote(name)} twice`
    seen.add(name)
  }
  return undefined
}

export function isEnroll(container: Container): boolean {
  return container.name === enrollContainer
}

/** Adds the container at index 0, or corrects the one at the index. */
export function putEnrollContainer(
  edits: Edits,
  readers: KeyReaders,
  settings: InjectionSettings
): void {
  const wanted = enrollContainerOf(readers, settings)
  const index = edits.pod.spec.initContainers?.findIndex(isEnroll) ?? -1
  if (index < 0) edits.insert(['spec', 'initContainers'], 0, wanted)
  else correct(edits, index, wanted, settings)
}

/** Complete by itself: nothing of it is left to the pod's own security context or to a LimitRange. */
function enrollContainerOf(readers: KeyReaders, settings: InjectionSettings) {
  const { cpu, memory } = settings.resources
  return {
    name: enrollContainer,
    image: settings.image,
    imagePullPolicy: settings.imagePullPolicy,
    command: [...enrollCommand],
    env: variables(readers, settings),
    resources: { requests: { cpu, memory }, limits: { cpu, memory } },
    volumeMounts: [...enrollMounts],
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
      runAsGroup: readers.group,
      runAsNonRoot: true,
      runAsUser: readers.user,
      seccompProfile: { type: 'RuntimeDefault' }
    }
  }
}

function variables(readers: KeyReaders, settings: InjectionSettings): EnvVar[] {
  const result = [
    { name: agentVariables.serverUrl, value: settings.serverUrl },
    { name: agentVariables.serverCa, value: settings.serverCa },
    fieldVariable(agentVariables.podIPs, 'status.podIPs'),
    fieldVariable(agentVariables.podName, 'metadata.name'),
    fieldVariable(agentVariables.podNamespace, 'metadata.namespace'),
    fieldVariable(agentVariables.podUid, 'metadata.uid'),
    { name: agentVariables.keyAlgorithm, value: settings.keyAlgorithm }
  ]
  if (readers.keyGroup !== undefined) {
    result.push({ name: agentVariables.keyGroup, value: String(readers.keyGroup) })
  }
  return result
}

function fieldVariable(name: string, fieldPath: string): EnvVar {
  return { name, valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } } }
}

function correct(
  edits: Edits,
  index: number,
  wanted: ReturnType<typeof enrollContainerOf>,
  settings: InjectionSettings
): void {
  const at = ['spec', 'initContainers', index]
  const found = edits.pod.spec.initContainers?.[index] as Container
  if (found.image !== wanted.image && !settings.imageMirrors?.includes(found.image ?? '')) {
    edits.put([...at, 'image'], wanted.image)
  }
  // AlwaysPullImages sets its own value at every pass and checks it in the end: what is there stays.
  if (!found.imagePullPolicy) edits.put([...at, 'imagePullPolicy'], wanted.imagePullPolicy)
  if (!isSameList(found.command, enrollCommand)) edits.put([...at, 'command'], wanted.command)
  correctVariables(edits, index, wanted.env)
  correctResources(edits, index, wanted.resources)
  for (const mount of wanted.volumeMounts) {
    putMount(edits, at, found, mount)
  }
  correctSecurity(edits, index, wanted.securityContext)
}

function correctVariables(edits: Edits, index: number, wanted: EnvVar[]): void {
  const at = ['spec', 'initContainers', index]
  const found = edits.pod.spec.initContainers?.[index] as Container
  if (!wanted.some(({ name }) => name === agentVariables.keyGroup)) {
    // The key belongs to the user alone; a group that is left over would open it.
    for (let place = (found.env?.length ?? 0) - 1; place >= 0; place -= 1) {
      if (found.env?.[place]?.name === agentVariables.keyGroup) edits.remove([...at, 'env', place])
    }
  }
  putVariables(edits, at, edits.pod.spec.initContainers?.[index] as Container, wanted)
}

function correctResources(
  edits: Edits,
  index: number,
  wanted: Record<'requests' | 'limits', Record<'cpu' | 'memory', string>>
): void {
  const found = edits.pod.spec.initContainers?.[index]?.resources
  for (const kind of ['requests', 'limits'] as const) {
    for (const name of ['cpu', 'memory'] as const) {
      if (isSameQuantity(found?.[kind]?.[name], wanted[kind][name])) continue
      const path = ['spec', 'initContainers', index, 'resources', kind, name]
      edits.put(path, wanted[kind][name])
    }
  }
}

function correctSecurity(
  edits: Edits,
  index: number,
  wanted: ReturnType<typeof enrollContainerOf>['securityContext']
): void {
  const at = ['spec', 'initContainers', index, 'securityContext']
  const found = edits.pod.spec.initContainers?.[index]?.securityContext
  const { capabilities, seccompProfile, ...plain } = wanted
  for (const [field, value] of Object.entries(plain)) {
    if (found?.[field as keyof typeof plain] !== value) edits.put([...at, field], value)
  }
  if (!found?.capabilities?.drop?.includes('ALL')) {
    edits.put([...at, 'capabilities', 'drop'], capabilities.drop)
  }
  if (found?.seccompProfile?.type !== seccompProfile.type) {
    edits.put([...at, 'seccompProfile'], seccompProfile)
  }
}

function isOurImage(image: string | undefined, settings: InjectionSettings): boolean {
  return (
    image !== undefined &&
    (image === settings.image ||
      settings.formerImages.includes(image) ||
      (settings.imageMirrors ?? []).includes(image))
  )
}

function isSameList(found: readonly string[] | null | undefined, wanted: readonly string[]) {
  return found?.length === wanted.length && wanted.every((item, index) => found[index] === item)
}

function reserved(found: string): Refusal {
  return refuse(
    'ReservedContainer',
    `The container name "${enrollContainer}" is reserved for Rayguard's own init container, but ${found}; rename it.`
  )
}
