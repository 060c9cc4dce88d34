import type { ReplicaStatus } from '../../contract/status.ts'
import type { Metrics } from '../../telemetry/metrics.ts'
import { version } from '../version.ts'
import type { Clocks, Component } from './component.ts'

/** For `rayguard status`; the readiness is the listener's to add. */
export function aboutUs(
  components: readonly Component[],
  clocks: Clocks,
  metrics: Metrics
): Omit<ReplicaStatus, 'ready' | 'checks'> {
  const certificates = components.flatMap(({ name, listener }) => {
    const certificate = listener?.certificate()
    return certificate === undefined ? [] : [[name, certificate] as const]
  })
  return {
    version: version(),
    components: components.map(({ name }) => name),
    now: new Date(clocks.wall()).toISOString(),
    servingCertificates: Object.fromEntries(certificates),
    certificateExpiries: metrics.certificateExpiries(),
    ...Object.assign({}, ...components.map(({ about }) => about?.()))
  }
}
