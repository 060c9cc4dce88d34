import { closeSync, constants, openSync, writeSync } from 'node:fs'
import type { TerminationMessage } from '../contract/enrollment.ts'

/**
 * All containers of a pod share 12 KiB, so that each of twelve has this
 * (https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/).
 */
const maximumBytes = 1024

/** Last words of an agent that got no certificate; {@link TerminationMessage} is those of one that did. */
export interface Refusal {
  code: string
  message: string
  requestId?: string
}

/**
 * Leaves `content` for the container's status. The kubelet has made the file; elsewhere there is none, and none is made.
 * A termination message that cannot be written must not cost the certificate.
 */
export function writeTerminationMessage(file: string, content: TerminationMessage | Refusal): void {
  try {
    const { O_WRONLY, O_TRUNC, O_NOFOLLOW } = constants
    const descriptor = openSync(file, O_WRONLY | O_TRUNC | O_NOFOLLOW)
    writeSync(descriptor, bounded(content))
    closeSync(descriptor)
  } catch {
    // The same words stand in the log.
  }
}

/** Whole JSON in any case: what is too long loses the end of its message, or what it trusts beside its own CA. */
function bounded(content: TerminationMessage | Refusal): string {
  const text = JSON.stringify(content)
  if (Buffer.byteLength(text) <= maximumBytes) return text
  if ('message' in content) {
    const kept = Math.floor(content.message.length / 2)
    return bounded({ ...content, message: content.message.slice(0, kept) })
  }
  const { trustedKeySha256, ...less } = content
  if (trustedKeySha256 !== undefined) return bounded(less)
  const { trustedSha256: _, ...least } = less
  return JSON.stringify(least)
}
