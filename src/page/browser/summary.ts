/**
 * What is counted, in words.
 */
import type { DryRunAnswer, PodSecurityReport } from '../../preview/schemas.ts'

/** A line or two for the eye and for screen readers. */
export function summaryOf({ results, passedOver = [] }: DryRunAnswer): string {
  const refused = results.filter(({ allowed }) => !allowed).length
  const parts = [podsText(results.length, refused)]
  const reports = results.flatMap(({ podSecurity }) => podSecurity ?? [])
  if (reports.length > 0) {
    const before = sum(reports.map(report => report.before.length))
    const after = sum(reports.map(report => report.after?.length ?? 0))
    // Of a refused pod nothing remains that could violate.
    const where = refused === 0 ? '' : refused < results.length ? ' in what is admitted' : undefined
    const remain = where === undefined ? '' : `, ${after} after${where}`
    parts.push(`Violations of restricted: ${before} before${remain}.`)
  }
  if (passedOver.length > 0) parts.push(`${counted(passedOver.length, 'document')} passed over.`)
  return parts.join(' ')
}

function podsText(pods: number, refused: number): string {
  if (pods === 0) return 'No pods would come of this.'
  if (refused === 0) return `${counted(pods, 'pod')}, ${pods === 1 ? '' : 'all '}admitted.`
  if (refused === pods) return `${counted(pods, 'pod')}, ${pods === 1 ? '' : 'all '}refused.`
  return `${counted(pods, 'pod')}, ${refused} refused.`
}

/** Of one pod; without `after` where it is refused. */
export function countsText({ before, after }: PodSecurityReport): string {
  return after === undefined
    ? counted(before.length, 'violation')
    : `${before.length} → ${counted(after.length, 'violation')}`
}

export function counted(count: number, noun: string): string {
  return `${count} ${count === 1 ? noun : `${noun}s`}`
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
