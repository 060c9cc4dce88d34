/**
 * Reads what a container's variables say about Ray's TLS.
 *
 * TLS by other means (KubeRay's own mTLS, its sample, CodeFlare) is recognised by all four variables alone: a volume or an
 * init container that is called like another tool's must not be a way out of TLS.
 */
import type { Container, EnvVar } from '../kubernetes/objects.ts'

/** `src/ray/common/ray_config_def.h` and `ray/_common/tls_utils.py` in Ray: the switch, then the paths. */
export const useTlsVariable = 'RAY_USE_TLS'
export const tlsPathVariables = ['RAY_TLS_SERVER_CERT', 'RAY_TLS_SERVER_KEY', 'RAY_TLS_CA_CERT']

const names = new Set([useTlsVariable, ...tlsPathVariables])

/** Every entry with one of the four names, in order; of equal names the runtime takes the last. */
export function tlsVariables(container: Container): EnvVar[] {
  return (container.env ?? []).filter(variable => names.has(variable.name))
}

/** True when the switch is on and all three paths are set, which is the least that Ray accepts. */
export function hasCompleteTls(variables: readonly EnvVar[]): boolean {
  const last = new Map(variables.map(variable => [variable.name, variable]))
  return isOn(last.get(useTlsVariable)) && tlsPathVariables.every(name => isSet(last.get(name)))
}

/** Ray reads `1` and `true` in any case as on; what a reference resolves to is not known at admission. */
function isOn(variable: EnvVar | undefined): boolean {
  return variable !== undefined && /^(1|true)$/i.test(variable.value ?? '')
}

function isSet(variable: EnvVar | undefined): boolean {
  return variable !== undefined && (Boolean(variable.value) || Boolean(variable.valueFrom))
}
