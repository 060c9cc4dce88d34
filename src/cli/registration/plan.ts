/**
 * What `rayguard register` writes, in an order in which no pod is refused for want of the other half.
 *
 * A policy refuses every Ray pod that the webhook was not asked about. So bindings are widened after the webhook, and
 * narrowed before it.
 */
import type { Client } from '../../kubernetes/client.ts'
import { registrationPath, warningsPath } from '../covered.ts'
import { lockDownPolicies, policyBinding } from './bindings.ts'
import {
  mutatingRegistration,
  type RegistrationOptions,
  validatingRegistration
} from './webhooks.ts'

export interface Part {
  place: string
  body: object
}

export interface Plan {
  /** Bindings that stand and become narrower. */
  before: Part[]
  registration: Part[]
  after: Part[]
}

const group = '/apis/admissionregistration.k8s.io/v1'

export async function planOf(client: Client, options: RegistrationOptions): Promise<Plan> {
  const plan: Plan = {
    before: [],
    registration: [
      { place: registrationPath, body: mutatingRegistration(options) },
      { place: warningsPath, body: validatingRegistration(options) }
    ],
    after: []
  }
  for (const name of lockDownPolicies) {
    // Left out by the values, or the API server has no policies.
    if (!(await client.get(`${group}/validatingadmissionpolicies/${name}`))) continue
    const place = `${group}/validatingadmissionpolicybindings/${name}`
    const narrower = options.canary !== undefined && (await client.get(place)) !== undefined
    plan[narrower ? 'before' : 'after'].push({ place, body: policyBinding(name, options) })
  }
  return plan
}
