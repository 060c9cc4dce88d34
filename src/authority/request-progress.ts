/** What has become of a request in the Kubernetes API, and how long it is kept for whoever asks for the same again. */

export type Progress =
  | { state: 'pending'; approved: boolean; reason: string }
  /** PEM: the certificate and what the signer adds; `authority`: its CA, where it says that. */
  | { state: 'issued'; certificate: string; authority?: string | undefined }
  /** Never any more for this object. `failed`: nobody has said no; the signer could not. */
  | { state: 'refused'; failed: boolean; reason: string }

/** Nobody comes for a request any more: the pod is gone, or the process that asked was killed. */
const pendingKeptMs = 3_600_000
/** A refusal stands for a while, or its pod would ask the approver again every few seconds. */
const finishedKeptMs = 600_000
/** What has failed may work another time, and whoever asks for the same again would find it. */
const failedKeptMs = 60_000

export function keptMs(progress: Progress): number {
  if (progress.state === 'pending') return pendingKeptMs
  return progress.state === 'refused' && progress.failed ? failedKeptMs : finishedKeptMs
}

export function isUnapproved(progress: Progress): boolean {
  return progress.state === 'pending' && !progress.approved
}

/** Of controllers' free text: one line, no longer than a person reads. */
export function shortText(...parts: (string | undefined)[]): string {
  const text = parts.filter(part => part).join(': ')
  return text.replace(/[\p{C}\s]+/gu, ' ').slice(0, 300)
}
