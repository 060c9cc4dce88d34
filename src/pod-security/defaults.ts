/**
 * What the API server fills in before Pod Security sees a pod, as far as a check reads it. What it sends to a webhook has
 * this already; what people write has not.
 *
 * A volume without a source is an emptyDir, and on the host's network every port is a host port
 * (https://github.com/kubernetes/kubernetes/blob/master/pkg/apis/core/v1/defaults.go).
 */
import type { Container, Pod, Volume } from '../kubernetes/objects.ts'
import { containerLists } from './walk.ts'

/** The pod itself where there is nothing to fill in. */
export function withDefaults(pod: Pod): Pod {
  const { spec } = pod
  const changed: Partial<Pod['spec']> = {}
  if (spec.volumes?.some(isBare)) {
    changed.volumes = spec.volumes.map(volume =>
      isBare(volume) ? { ...volume, emptyDir: {} } : volume
    )
  }
  if (spec.hostNetwork === true) {
    for (const list of containerLists) {
      const containers = spec[list]
      if (containers?.some(lacksHostPort)) changed[list] = containers.map(withHostPorts)
    }
  }
  return Object.keys(changed).length === 0 ? pod : { ...pod, spec: { ...spec, ...changed } }
}

function isBare(volume: Volume): boolean {
  return Object.keys(volume).every(key => key === 'name' || isAbsent(volume[key]))
}

function lacksHostPort({ ports }: Container): boolean {
  return ports?.some(({ hostPort, containerPort }) => !hostPort && containerPort) === true
}

function withHostPorts(container: Container): Container {
  if (!lacksHostPort(container)) return container
  const ports = (container.ports ?? []).map(port =>
    port.hostPort ? port : { ...port, hostPort: port.containerPort ?? null }
  )
  return { ...container, ports }
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null
}
