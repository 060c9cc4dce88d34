/**
 * What a real API server sent, made fit for git: identifiers and times that differ in every run become fixed ones, so that
 * recording anew shows only what has changed. RAYGUARD_RECORD=yes writes; otherwise nothing is written.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import type { AdmissionReview } from '../../src/admission/review.ts'

const folder = 'test/fixtures/recorded'

export async function record(name: string, review: AdmissionReview): Promise<void> {
  if (process.env.RAYGUARD_RECORD !== 'yes') return
  await mkdir(folder, { recursive: true })
  await writeFile(`${folder}/${name}.json`, `${JSON.stringify(sanitise(review), undefined, 2)}\n`)
}

export function sanitise(review: AdmissionReview): unknown {
  const seen = new Map<string, string>()
  const stable = (kind: string, found: string, make: (number: number) => string) => {
    const key = `${kind} ${found}`
    const count = [...seen.keys()].filter(each => each.startsWith(`${kind} `)).length
    const replacement = seen.get(key) ?? make(count + 1)
    seen.set(key, replacement)
    return replacement
  }
  const text = JSON.stringify(review)
    .replaceAll(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, found =>
      stable('uuid', found, number => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`)
    )
    .replaceAll(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ/g, '2026-01-01T00:00:00Z')
    .replaceAll(/kube-api-access-[a-z0-9]{5}/g, 'kube-api-access-abcde')
    .replaceAll(/127\.0\.\d+\.\d+(?!\d|:)/g, '10.0.0.9')
    .replaceAll(/"resourceVersion":"\d+"/g, '"resourceVersion":"1"')
    .replaceAll(/-[bcdfghjklmnpqrstvwxz2456789]{5}(?=["-])/g, found =>
      stable('suffix', found, number => `-abcd${number}`)
    )
  return withoutManagedFields(JSON.parse(text))
}

/** Long, and nobody reads them: which client wrote which field. */
function withoutManagedFields(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutManagedFields)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== 'managedFields')
      .map(([key, child]) => [key, withoutManagedFields(child)])
  )
}
