import { durationSeconds } from './duration.ts'
import type { SettingsFile } from './schema.ts'

export interface LifetimeBounds {
  shortestSeconds: number
  longestSeconds: number
}

const daySeconds = 86_400

/** Between which a namespace may choose; its defaults come from the lifetime itself. Durations are known to be well-formed. */
export function lifetimeBounds({
  lifetime,
  namespaceLifetime: { shortest, longest }
}: SettingsFile['enrollment']): LifetimeBounds {
  const chosen = durationSeconds(lifetime) ?? 0
  return {
    shortestSeconds: durationSeconds(shortest ?? '') ?? Math.min(daySeconds, chosen),
    longestSeconds: durationSeconds(longest ?? '') ?? chosen
  }
}
