/**
 * How what is foreseen of a resource is said to whoever applies it: the place first, as in the API server's own errors.
 *
 * Equal things at several places are one text, because a RayCluster has the same fault in each of its groups.
 */
import type { PodSecurityMode } from '../contract/pod.ts'
import {
  type Foreseen,
  type Foresight,
  maximumContainers,
  type Weight,
  weights
} from './foresight.ts'
import { fitting, joined, maximumWarning, warning } from './texts.ts'

/** What stands before and after it in a warning. */
const roomForText = maximumWarning - 'rayguard: '.length

const verbs: Record<Weight, string> = {
  refused: 'its pods will be refused: ',
  violates: 'violates restricted: ',
  notice: '',
  mended: 'Rayguard mends '
}

export function adviceOn({ foreseen, leftOut }: Foresight, podSecurity: PodSecurityMode): string[] {
  // Whoever chose `audit` reads the audit log: the users of the namespace are left in peace.
  const said = foreseen.filter(({ weight }) => weight !== 'violates' || podSecurity === 'warn')
  const texts = textsOf(said).map(warning)
  // First, because the texts that are cut off are the last ones.
  if (leftOut > 0) texts.unshift(warning(leftOutText(leftOut)))
  return fitting(texts)
}

export function noteOn({ foreseen }: Foresight): string | undefined {
  return joined(textsOf(foreseen.filter(({ weight }) => weight === 'violates')))
}

function leftOutText(leftOut: number): string {
  return `${leftOut} of its pods were not looked at: all together they have more than ${maximumContainers} containers`
}

function textsOf(foreseen: readonly Foreseen[]): string[] {
  return weights.flatMap(weight => {
    const of = foreseen.filter(each => each.weight === weight)
    const groups = weight === 'mended' ? mendedTogether(of) : placesByText(of)
    return [...groups].map(([text, places]) => sentence(verbs[weight] + text, [...places]))
  })
}

function placesByText(foreseen: readonly Foreseen[]): Map<string, Set<string>> {
  return grouped(
    foreseen,
    ({ id, reason }) => `${id}: ${reason}`,
    ({ place }) => place
  )
}

/** What is mended needs no reasons: the checks of each place, then the places that have the same ones. */
function mendedTogether(foreseen: readonly Foreseen[]): Map<string, Set<string>> {
  const checks = grouped(
    foreseen,
    ({ place }) => place,
    ({ id }) => id
  )
  return grouped(
    [...checks],
    ([, ids]) => [...ids].join(', '),
    ([place]) => place
  )
}

function grouped<T>(
  items: readonly T[],
  key: (item: T) => string,
  value: (item: T) => string
): Map<string, Set<string>> {
  const groups = new Map<string, Set<string>>()
  for (const item of items) {
    const group = groups.get(key(item)) ?? new Set()
    groups.set(key(item), group.add(value(item)))
  }
  return groups
}

/** The first place always, and further ones while they leave the text its room. */
function sentence(text: string, places: readonly string[]): string {
  const room = roomForText - text.length - ' and 999 more: '.length
  let length = 0
  const shown = places.filter((place, index) => {
    length += place.length + 2
    return index === 0 || length <= room
  })
  const more = places.length > shown.length ? ` and ${places.length - shown.length} more` : ''
  return `${shown.join(', ')}${more}: ${text}`
}
