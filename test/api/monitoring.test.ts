/** A real Prometheus with our rules reads a running Rayguard. */
import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import t from 'tap'
import { stringify } from 'yaml'
import type { ReplicaStatus } from '../../src/contract/status.ts'
import { connect, eventually, skip } from '../support/cluster.ts'
import { startRayguard } from '../support/cluster-rayguard.ts'
import { foundProgram } from '../support/found-program.ts'
import { alertExpressions, dashboardExpressions, metricsOf } from '../support/monitoring-queries.ts'

t.test('what Prometheus sees of a running Rayguard', { skip }, async t => {
  const api = await connect()
  const folder = t.testdir({})
  const rayguard = await startRayguard(api, folder, { serving: { kind: 'selfManaged' } })
  t.teardown(async () => {
    await rayguard.stop()
    api.close()
  })

  await t.test('every metric that rules and dashboard read is exported', async t => {
    const exported = (await rayguard.metrics('# TYPE rayguard_')).map(line => line.split(' ')[2])
    const read = metricsOf([...(await alertExpressions()), ...(await dashboardExpressions())])
    // Those of the replacement are of a process that is not here; api/replacement reads them.
    const here = read.filter(name => !name.startsWith('rayguard_replacement_'))
    t.strictSame(
      here.filter(name => !exported.includes(name)),
      [],
      `all ${here.length} of them`
    )
  })

  await t.test('a whole round through the CAs of RayClusters is told', async t => {
    const found = await eventually('a round', async () => {
      const lines = await rayguard.metrics('rayguard_cluster_cas_due{')
      return lines.length > 0 && lines
    })
    t.equal(found.length, 3, 'unsealed, by a former key, not renewed')
    const told = await Promise.all(
      rayguard.opsAddresses.map(async address => {
        const answer = await fetch(`http://${address}/status`)
        return (await answer.json()) as ReplicaStatus
      })
    )
    const { due } = told.find(({ authority }) => authority)?.authority?.trust ?? {}
    t.match(due, { unsealed: Number, formerSeal: Number, renewal: Number }, 'and by the status')
  })

  const prometheus = foundProgram('prometheus')
  const missing =
    prometheus === undefined && 'prometheus is not installed: apt-get install prometheus'
  await t.test(
    'Prometheus reads both components and finds nothing to alarm',
    { skip: missing },
    async t => {
      const address = `127.0.0.1:${await freePort()}`
      const configuration = join(folder, 'prometheus.yaml')
      await mkdir(join(folder, 'series'))
      await writeFile(
        configuration,
        stringify({
          global: { scrape_interval: '1s', evaluation_interval: '1s' },
          rule_files: [resolve('manifests/alerts.yaml')],
          scrape_configs: [
            { job_name: 'rayguard', static_configs: [{ targets: rayguard.opsAddresses }] }
          ]
        })
      )
      const child = spawn(
        prometheus ?? '',
        [
          ...['--config.file', configuration, '--storage.tsdb.path', join(folder, 'series')],
          ...['--web.listen-address', address]
        ],
        { stdio: ['ignore', 'ignore', 'pipe'] }
      )
      const ended = new Promise(resolve => child.once('exit', resolve))
      child.stderr.pipe(createWriteStream(join(folder, 'prometheus.log')))
      t.teardown(async () => {
        child.kill('SIGTERM')
        await ended
      })
      const ask = async (path: string) => {
        const answer = await fetch(`http://${address}/api/v1/${path}`).catch(() => undefined)
        return answer?.ok ? (await answer.json()).data : undefined
      }
      const query = async (text: string): Promise<{ metric: Record<string, string> }[]> =>
        (await ask(`query?query=${encodeURIComponent(text)}`))?.result ?? []

      await eventually(
        'both are read',
        async () => (await query('rayguard_info and on (instance) up == 1')).length === 2
      )
      const rules = await eventually('every rule was evaluated', async () => {
        const found = (await ask('rules'))?.groups.flatMap(
          (group: { rules: { health: string }[] }) => group.rules
        ) as { name: string; health: string; state: string }[] | undefined
        // before the first reading there was nothing to see
        const absent = found?.find(({ name }) => name === 'RayguardAbsent')
        return (
          absent?.state === 'inactive' &&
          found?.every(({ health }) => health !== 'unknown') &&
          found
        )
      })
      for (const { name, health, state } of rules) {
        t.equal(health, 'ok', `${name} can be evaluated`)
        t.not(state, 'firing', `${name} does not fire`)
      }
      const certificates = await query('rayguard_certificate_expiry_timestamp_seconds > time()')
      t.ok(certificates.length >= 3, 'the ends of the certificates are known')
    }
  )
})

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : 0
}
