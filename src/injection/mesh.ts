/**
 * Init containers of service meshes: the only ones that may run before the agent, because they make its network.
 */
import type { Container } from '../kubernetes/objects.ts'

export const meshContainers: ReadonlySet<string> = new Set([
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
  return meshContainers.has(container.name)
}
