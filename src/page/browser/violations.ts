/**
 * What violates Pod Security before and after, check by check.
 */
import type { PodSecurityReport } from '../../preview/schemas.ts'

export interface ViolationRow {
  id: string
  reason: string
  detail: string
  before: boolean
  /** Undefined where the pod is refused: there is no after. */
  after: boolean | undefined
}

export function violationRows({ before, after }: PodSecurityReport): ViolationRow[] {
  const rows = before.map(({ id, reason, detail }) => {
    const remains = after?.find(violation => violation.id === id)
    return {
      id,
      reason,
      // What is still wrong says more than what was.
      detail: remains?.detail ?? detail,
      before: true,
      after: after && remains !== undefined
    }
  })
  const known = new Set(rows.map(({ id }) => id))
  const added = (after ?? []).filter(({ id }) => !known.has(id))
  return [...rows, ...added.map(violation => ({ ...violation, before: false, after: true }))]
}
