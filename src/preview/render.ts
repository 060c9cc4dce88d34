/** What becomes of a pod, as the text that somebody asked for. */
import { patchText } from '../admission/admit.ts'
import { diffOfPods, yamlOf } from './diff.ts'
import type { DryRunResult, Output } from './schemas.ts'

/** `submitted`: the object that the result is about. Empty where the pod is refused, but for a patch. */
export function textOf(
  { source, patch, pod }: DryRunResult,
  submitted: unknown,
  output: Exclude<Output, 'json'>
): string {
  if (output === 'patch') return patchText(patch)
  if (pod === undefined) return ''
  return output === 'yaml' ? `---\n# ${source}\n${yamlOf(pod)}` : diffOfPods(submitted, pod, source)
}

export function withDiff(result: DryRunResult, submitted: unknown): DryRunResult {
  return result.pod === undefined
    ? result
    : { ...result, diff: diffOfPods(submitted, result.pod, result.source) }
}
