/**
 * `npm run bench [-- [--json] NAME…]`: measures what docs/performance.md promises, and says so when it is missed.
 *
 * Speed is no test: a missed target is printed, the exit code stays 0.
 */
import { parseArgs } from 'node:util'
import type { Report } from './harness.ts'
import { jsonLine, tableHead, tableRow } from './report.ts'

interface Bench {
  run(report: Report): Promise<void>
}

const benches: Record<string, () => Promise<Bench>> = {
  signing: () => import('./signing.ts'),
  authorities: () => import('./authorities.ts'),
  issuance: () => import('./issuance.ts'),
  patch: () => import('./patch.ts'),
  mutate: () => import('./mutate.ts'),
  agent: () => import('./agent.ts'),
  start: () => import('./start.ts'),
  burst: () => import('./burst.ts'),
  'per-cluster': () => import('./per-cluster.ts'),
  'slow-signer': () => import('./slow-signer.ts'),
  preview: () => import('./preview.ts')
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false } }
})
const unknown = positionals.filter(name => !Object.hasOwn(benches, name))
if (unknown.length > 0) {
  process.stderr.write(
    `There is no figure ${unknown.join(', ')}. The figures are: ${Object.keys(benches).join(', ')}.\n`
  )
  process.exit(2)
}

const chosen = positionals.length === 0 ? Object.keys(benches) : positionals
if (!values.json) process.stdout.write(`${tableHead()}\n`)
for (const name of chosen) {
  const bench = await benches[name]?.()
  await bench?.run(figure => {
    process.stdout.write(`${values.json ? jsonLine(figure) : tableRow(figure)}\n`)
  })
}
