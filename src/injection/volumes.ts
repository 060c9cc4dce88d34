/**
 * The three volumes of an enrolled pod.
 *
 * A volume that has one of their names is brought to their shape if it is of their type; one of another type would put
 * something else behind the name, so the pod is refused.
 */
import {
  noApiTokenVolume,
  tlsVolume,
  tokenAudience,
  tokenExpirationSeconds,
  tokenFile,
  tokenVolume
} from '../contract/pod.ts'
import type { Pod, Volume } from '../kubernetes/objects.ts'
import type { Edits } from './edits.ts'
import { type Refusal, refuse } from './outcome.ts'
import { quote } from './quote.ts'
import type { InjectionSettings } from './settings.ts'

const sizeLimit = '1Mi'
/** Readable by the agent whatever its user: only its container mounts it. 0444. */
const tokenMode = 0o444

type Settings = Pick<InjectionSettings, 'tokenAudience'>

/** Undefined unless a volume has a name of ours and another type than ours. */
export function refuseForeignVolumes(pod: Pod): Refusal | undefined {
  for (const volume of pod.spec.volumes ?? []) {
    const type = typeOf(volume.name)
    if (type === undefined) continue
    const source = Object.keys(volume).find(
      key => key !== 'name' && key !== type && volume[key] !== null
    )
    const sources = volume.projected?.sources ?? []
    const odd = sources.some(({ serviceAccountToken }) => !serviceAccountToken)
    if (source === undefined && !odd) continue
    return refuse(
      'ReservedVolume',
      `The volume name ${quote(volume.name)} is reserved for Rayguard's own volume (${type}), ` +
        `but the pod has ${source ?? 'another projection'} there; rename it.`
    )
  }
  return undefined
}

export function putVolumes(edits: Edits, settings: Settings): void {
  putMemory(edits, tlsVolume, 'Memory')
  putToken(edits, settings.tokenAudience ?? tokenAudience)
  putMemory(edits, noApiTokenVolume, undefined)
}

function typeOf(name: string): 'emptyDir' | 'projected' | undefined {
  if (name === tlsVolume || name === noApiTokenVolume) return 'emptyDir'
  return name === tokenVolume ? 'projected' : undefined
}

function putMemory(edits: Edits, name: string, medium: string | undefined): void {
  const emptyDir = medium === undefined ? { sizeLimit } : { medium, sizeLimit }
  const index = indexOf(edits.pod, name)
  if (index < 0) {
    edits.append(['spec', 'volumes'], { name, emptyDir })
    return
  }
  const present = edits.pod.spec.volumes?.[index]?.emptyDir
  const at = ['spec', 'volumes', index, 'emptyDir']
  if (!present) edits.put(at, emptyDir)
  else {
    // A key on a disk outlives the pod there; the size is left to whoever changed it.
    if (medium !== undefined && present.medium !== medium) edits.put([...at, 'medium'], medium)
    if (!present.sizeLimit) edits.put([...at, 'sizeLimit'], sizeLimit)
  }
}

function putToken(edits: Edits, audience: string): void {
  const token = { audience, expirationSeconds: tokenExpirationSeconds, path: tokenFile }
  const sources = [{ serviceAccountToken: token }]
  const index = indexOf(edits.pod, tokenVolume)
  if (index < 0) {
    edits.append(['spec', 'volumes'], {
      name: tokenVolume,
      projected: { sources, defaultMode: tokenMode }
    })
    return
  }
  const at = ['spec', 'volumes', index, 'projected']
  const present: Volume['projected'] = edits.pod.spec.volumes?.[index]?.projected
  const [source, ...others] = present?.sources ?? []
  const found = source?.serviceAccountToken
  const same =
    others.length === 0 &&
    found?.audience === audience &&
    found.expirationSeconds === tokenExpirationSeconds &&
    found.path === tokenFile
  if (!same) edits.put([...at, 'sources'], sources)
  if (present?.defaultMode !== tokenMode) edits.put([...at, 'defaultMode'], tokenMode)
}

function indexOf(pod: Pod, name: string): number {
  return pod.spec.volumes?.findIndex(volume => volume.name === name) ?? -1
}
