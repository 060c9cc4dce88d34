import type { RefusalCode } from '../contract/enrollment.ts'

/** A "no" of one of the checks. The reason is for the log; it holds names of objects and addresses, never a credential. */
export interface Refusal {
  allowed: false
  code: RefusalCode
  reason: string
  /** Where the code's usual time does not fit. */
  retryAfterSeconds?: number
}

/** What a check has found out, or its "no". */
export type Proof<T> = ({ allowed: true } & T) | Refusal

export function refuse(code: RefusalCode, reason: string): Refusal {
  return { allowed: false, code, reason }
}
