/** When an authority that was away at the start is tried again. */
import { Clock } from '@tapjs/clock'
import t from 'tap'
import { AuthorityError, type AuthorityErrorCode } from '../../src/authority/authority.ts'
import { openPatiently } from '../../src/authority/patient.ts'

/** The seconds from each try to the next. */
async function pausesOf(tries: number, answer: (count: number) => AuthorityErrorCode) {
  const clock = new Clock()
  clock.enter()
  const at: number[] = []
  const authority = await openPatiently({
    async open() {
      at.push(clock.now())
      throw new AuthorityError(answer(at.length), 'away')
    },
    ...{ kind: 'vault', namesFrom: 'server', retryMs: 5_000 },
    mayEnd: () => false,
    onFault() {}
  })
  while (at.length < tries) {
    clock.advance(1_000)
    for (let turns = 0; turns < 10; turns += 1) await Promise.resolve()
  }
  await authority.close()
  clock.exit()
  return at.slice(1).map((ms, index) => Math.round((ms - (at[index] ?? 0)) / 1000))
}

t.test('who is not there yet is awaited by short steps for a minute, then by longer', async t => {
  const pauses = await pausesOf(17, () => 'Unavailable')
  t.strictSame(pauses, [...Array(12).fill(5), 10, 20, 30, 30])
})

t.test('a no is asked about ever more seldom: each time may cost a login', async t => {
  for (const code of ['Refused', 'Denied', 'Invalid'] as const) {
    const pauses = await pausesOf(10, () => code)
    t.strictSame(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300], code)
  }
})

t.test('what was sealed for long and then says no is asked again soon', async t => {
  const pauses = await pausesOf(20, count => (count < 17 ? 'Unavailable' : 'Refused'))
  t.strictSame(pauses.slice(-4), [30, 5, 10, 20])
  const turns = await pausesOf(30, count => (count % 2 ? 'Unavailable' : 'Refused'))
  t.equal(turns.at(-1), 30, 'in turns neither goes on by short steps')
})
