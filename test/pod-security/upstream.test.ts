/**
 * The evaluator against the one of Kubernetes itself (k8s.io/pod-security-admission): the same ids, reasons and details, in
 * the same order, for both levels and every version of the policy.
 */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join, sep } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import type { Pod } from '../../src/kubernetes/objects.ts'
import { withDefaults } from '../../src/pod-security/defaults.ts'
import { evaluate } from '../../src/pod-security/evaluate.ts'
import {
  checkIds,
  checksOf,
  type Level,
  levels,
  minorOf,
  newestMinor
} from '../../src/pod-security/standard.ts'
import { arbitraryStandardPod } from '../support/arbitrary-standard-pods.ts'
import { foundProgram } from '../support/found-program.ts'

const program = foundProgram('pod-security')
const skip =
  program === undefined &&
  'the evaluator of Kubernetes is not built: test/cluster/build pod-security builds it'

interface Judged {
  id: string
  reason: string
  detail: string
}

/** Of one pod: for each level what holds from which minor version on. */
type Verdicts = Record<Level, { from: number; violations: Judged[] }[]> & {
  latest: Record<Level, Judged[]>
}

t.test('generated pods', { skip, timeout: 300_000 }, async t => {
  const seed = Number(process.env.RAYGUARD_TEST_SEED ?? Date.now() % 2 ** 31)
  t.comment(`RAYGUARD_TEST_SEED=${seed}`)
  const pods = fc.sample(arbitraryStandardPod, { numRuns: 10_000, seed })
  const met = compare(t, pods, await upstream(pods))
  t.strictSame(
    checkIds.filter(id => !met.has(id)),
    [],
    'every check was broken by some pod'
  )
})

const folder = (await sources()) ?? ''
const skipTheirs =
  skip || (folder === '' && 'the sources of the evaluator are not in the cache of Go modules')

t.test('the pods of the upstream project', { skip: skipTheirs, timeout: 300_000 }, async t => {
  const files = readdirSync(join(folder, 'test', 'testdata'), { recursive: true, encoding: 'utf8' })
    .filter(file => file.endsWith('.yaml'))
    .sort()
  t.ok(files.length > 1_000, `${files.length} pods`)
  const pods = files.map(
    file => parse(readFileSync(join(folder, 'test', 'testdata', file), 'utf8')) as Pod
  )
  compare(t, pods, await upstream(pods))
  const wrong = files.filter((file, index) => {
    const [level, version = '', verdict] = file.split(sep)
    const violations = evaluate(
      withDefaults(pods[index] as Pod),
      checksOf(level as Level, minorOf(version) ?? Number.NaN)
    )
    return (verdict === 'pass') !== (violations.length === 0)
  })
  t.strictSame(wrong, [], 'each passes or fails as its folder says')
})

/** Returns the ids of the checks that were broken. */
function compare(t: Test, pods: readonly Pod[], verdicts: readonly Verdicts[]): Set<string> {
  t.equal(verdicts.length, pods.length, 'all are judged')
  const met = new Set<string>()
  let differing = 0
  let compared = 0
  for (const [index, pod] of pods.entries()) {
    const verdict = verdicts[index] as Verdicts
    for (const level of levels) {
      for (let minor = 0; minor <= newestMinor; minor += 1) {
        const wanted = verdict[level].findLast(({ from }) => from <= minor)?.violations ?? []
        const found = judged(pod, level, minor)
        compared += 1
        for (const { id } of wanted) met.add(id)
        if (JSON.stringify(found) === JSON.stringify(wanted)) continue
        differing += 1
        if (differing <= 3)
          t.strictSame(found, wanted, `${level} v1.${minor}: ${JSON.stringify(pod)}`)
      }
      const newest = judged(pod, level, minorOf('latest') ?? Number.NaN)
      if (JSON.stringify(newest) !== JSON.stringify(verdict.latest[level])) differing += 1
    }
  }
  t.equal(differing, 0, `${compared} judgements are the same`)
  return met
}

function judged(pod: Pod, level: Level, minor: number): Judged[] {
  return evaluate(pod, checksOf(level, minor)).map(({ id, reason, detail }) => ({
    id,
    reason,
    detail
  }))
}

async function upstream(pods: readonly Pod[]): Promise<Verdicts[]> {
  const lines = pods.map(pod => `${JSON.stringify(pod)}\n`).join('')
  const text = await output(program ?? '', [], lines)
  return text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line) as Verdicts)
}

async function sources(): Promise<string | undefined> {
  const module = 'k8s.io/pod-security-admission'
  const folder = 'test/cluster/modules/pod-security'
  return output('go', ['list', '-C', folder, '-m', '-f', '{{.Dir}}', module])
    .then(text => text.trim() || undefined)
    .catch(() => undefined)
}

function output(file: string, argumentsList: string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, argumentsList, { stdio: ['pipe', 'pipe', 'inherit'] })
    const chunks: Buffer[] = []
    child.stdout.on('data', chunk => chunks.push(chunk))
    child.once('error', reject)
    child.once('close', code =>
      code === 0 ? resolve(Buffer.concat(chunks).toString()) : reject(new Error(`${file}: ${code}`))
    )
    child.stdin.on('error', reject).end(input)
  })
}
