/** The chart as Helm renders it for Rayguard's own namespace. */
import { execFileSync } from 'node:child_process'
import { parseAllDocuments } from 'yaml'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import { foundProgram } from './found-program.ts'

const helm = foundProgram('helm')

export const skipWithoutHelm =
  helm === undefined && 'helm is not installed: test/cluster/build helm builds one'

/** `values` as `--set` takes them. */
export function renderChart(...values: string[]): KubernetesObject[] {
  const flags = ['--namespace', 'rayguard-system', ...values.flatMap(value => ['--set', value])]
  const yaml = execFileSync(helm ?? '', ['template', 'rayguard', 'manifests/chart', ...flags], {
    encoding: 'utf8'
  })
  return parseAllDocuments(yaml)
    .map(document => document.toJS())
    .filter(object => object !== null)
}
