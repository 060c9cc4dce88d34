/** The alert rules, judged by Prometheus' own tool, and the dashboard's queries beside them. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import { foundProgram } from '../support/found-program.ts'
import { dashboardExpressions } from '../support/monitoring-queries.ts'

const promtool = foundProgram('promtool')
const skip = promtool === undefined && 'promtool is not installed: apt-get install prometheus'

t.test(
  'Prometheus understands the rules, and each alert fires when it should',
  { skip },
  async t => {
    const checked = promtoolRun('check', 'rules', '--lint-fatal', 'manifests/alerts.yaml')
    t.equal(checked.status, 0, `the rules are sound: ${checked.stdout}${checked.stderr}`)
    const tried = promtoolRun('test', 'rules', 'test/manifests/alerts.test.yaml')
    t.equal(tried.status, 0, `each alert is tried: ${tried.stdout}${tried.stderr}`)
  }
)

t.test('Prometheus understands every query of the dashboard', { skip }, async t => {
  const expressions = await dashboardExpressions()
  t.ok(expressions.length > 10, `${expressions.length} queries`)
  const rules = expressions.map((expression, index) => ({
    record: `query:${index}`,
    expr: expression.replaceAll('$__rate_interval', '5m')
  }))
  const folder = t.testdir({ 'queries.yaml': stringify({ groups: [{ name: 'queries', rules }] }) })
  const { status, stdout, stderr } = promtoolRun('check', 'rules', join(folder, 'queries.yaml'))
  t.equal(status, 0, `the queries are sound: ${stdout}${stderr}`)
})

function promtoolRun(...argumentsList: string[]) {
  return spawnSync(promtool ?? '', argumentsList, { encoding: 'utf8' })
}
