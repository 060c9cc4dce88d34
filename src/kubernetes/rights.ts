/** As RBAC names it. */
export interface Right {
  verb: string
  /** Empty for the core group. */
  group: string
  resource: string
  subresource?: string
  /** Of one object; without it of all. */
  name?: string
  /** Without it in all, or for what belongs to none. */
  namespace?: string
}

/** The rights that this program lacks, as `get rayclusters.ray.io`. Throws what the API throws. */
export async function missingRights(
  calls: { may(right: Right): Promise<boolean> },
  needed: readonly Right[]
): Promise<string[]> {
  const granted = await Promise.all(needed.map(right => calls.may(right)))
  return needed.filter((_, at) => !granted[at]).map(rightName)
}

export function rightName({ verb, group, resource, subresource, name }: Right): string {
  const whole = subresource === undefined ? resource : `${resource}/${subresource}`
  const grouped = group === '' ? whole : `${whole}.${group}`
  return [verb, grouped, ...(name === undefined ? [] : [name])].join(' ')
}
