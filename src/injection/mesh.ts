/**
 * Init containers of service meshes: the only ones that may run before the agent, because they make its network.
 */
import type { Container } from '../kubernetes/objects.ts'

const names = new Set([
  'istio-init',
  'istio-validation',
  'istio-proxy',
  'enable-core-dump',
  'linkerd-init',
  'linkerd-network-validator',
  'linkerd-proxy',
  'kuma-init',
  'kuma-validation',
  'kuma-sidecar',
  'consul-connect-inject-init',
  'consul-dataplane'
])

export function isMesh(container: Container): boolean {
  return names.has(container.name)
}
