/** The queries of the alert rules and of the dashboard, and which of our metrics they read. */
import { readFile } from 'node:fs/promises'
import { parse } from 'yaml'

export async function alertExpressions(): Promise<string[]> {
  const { groups } = parse(await readFile('manifests/alerts.yaml', 'utf8'))
  return groups.flatMap(({ rules }: { rules: { expr: string }[] }) => rules.map(({ expr }) => expr))
}

export async function dashboardExpressions(): Promise<string[]> {
  const { panels } = JSON.parse(await readFile('manifests/dashboard.json', 'utf8'))
  return panels.flatMap(({ targets }: { targets: { expr: string }[] }) =>
    targets.map(({ expr }) => expr)
  )
}

/** Names as the server exports them: the series of a histogram are one metric. */
export function metricsOf(expressions: readonly string[]): string[] {
  const names = expressions.flatMap(expression => expression.match(/\brayguard_[a-z_]+/g) ?? [])
  return [...new Set(names.map(name => name.replace(/_(bucket|sum|count)$/, '')))].sort()
}
