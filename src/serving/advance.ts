/** Carries a step of plan.ts out: from one content of the Secret to the next. Writes nowhere. */
import { crossSign, type Making, makeAuthority, makeLeaf } from './material.ts'
import { ended, type Step } from './plan.ts'
import type { ServingState } from './state.ts'

export async function advance(
  step: Exclude<Step, 'keep'>,
  state: ServingState,
  making: Making
): Promise<ServingState> {
  switch (step) {
    case 'begin':
    case 'lost':
      return begin(state, making)
    case 'renew':
      return renew(state, making)
    case 'prepare':
      return { ...state, next: await makeAuthority(making) }
    case 'promote':
      return promote(state, making)
    case 'forget': {
      const { former: _, ...rest } = state
      return rest
    }
    default: {
      const unknown: never = step
      throw new Error(`there is no step ${String(unknown)}`)
    }
  }
}

/** A CA that clients may still trust stays announced, so that replicas that use it go on until they have the new one. */
async function begin({ anchor }: ServingState, making: Making): Promise<ServingState> {
  const authority = await makeAuthority(making)
  return {
    anchor: authority,
    authority,
    ...formerOf(anchor, making),
    leaf: await makeLeaf(authority, undefined, making)
  }
}

async function renew(state: ServingState, making: Making): Promise<ServingState> {
  const { authority, cross } = state
  if (authority === undefined) throw new Error('a CA without its key cannot sign')
  return { ...state, leaf: await makeLeaf(authority, cross, making) }
}

async function promote(state: ServingState, making: Making): Promise<ServingState> {
  const { anchor, authority, next } = state
  if (next === undefined) throw new Error('there is no successor')
  const certifies = authority !== undefined && !ended(authority, making.now)
  const cross = certifies ? await crossSign(authority, next, making.random) : undefined
  return {
    anchor: next,
    authority: next,
    ...formerOf(anchor, making),
    ...(cross === undefined ? {} : { cross }),
    leaf: await makeLeaf(next, cross, making)
  }
}

function formerOf(anchor: ServingState['anchor'], { profile, now }: Making) {
  if (anchor === undefined || ended(anchor, now)) return {}
  return { former: { anchor, until: now + profile.formerMs } }
}
