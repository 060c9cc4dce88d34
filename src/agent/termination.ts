import { closeSync, constants, openSync, writeSync } from 'node:fs'
import type { TerminationMessage } from '../contract/enrollment.ts'

/** https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/ */
const maximumBytes = 4096

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

/** Whole JSON in any case: what is too long loses the end of its message. */
function bounded(content: TerminationMessage | Refusal): string {
  const text = JSON.stringify(content)
  if (Buffer.byteLength(text) <= maximumBytes || !('message' in content)) return text
  const kept = Math.floor(content.message.length / 2)
  return bounded({ ...content, message: content.message.slice(0, kept) })
}
