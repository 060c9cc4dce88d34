import t from 'tap'
import { createTurns } from '../../src/flow/turns.ts'

t.test('so many work at one time, the others follow in the order in which they came', async t => {
  const turns = createTurns({ atOnce: 2, waiting: 2 })
  const places = Array.from({ length: 5 }, () => turns.place())
  const order: number[] = []
  const entered = places.map(async (place, at) => {
    const isIn = await place.enter()
    if (isIn) order.push(at)
    return isIn
  })
  t.equal(await entered[4], false, 'the fifth is sent away at once')
  t.same([order, turns.working, turns.waiting], [[0, 1], 2, 2], 'two work, two wait')
  places[1]?.leave()
  await entered[2]
  places[0]?.leave()
  await entered[3]
  t.same(order, [0, 1, 2, 3], 'first come, first served')
  t.same([turns.working, turns.waiting], [2, 0], 'nobody waits any more')
  places[0]?.leave()
  t.equal(turns.working, 2, 'who leaves twice frees no second place')
  places[2]?.leave()
  places[3]?.leave()
  t.equal(turns.working, 0, 'all are gone')
})

t.test('a place is left and entered again behind those who wait', async t => {
  const turns = createTurns({ atOnce: 1, waiting: 10 })
  const [first, second] = [turns.place(), turns.place()]
  t.equal(await first.enter(), true, 'in')
  t.equal(await first.enter(), true, 'who is in already takes no second turn')
  const next = second.enter()
  first.leave()
  const again = first.enter()
  t.equal(await next, true, 'the one who waited is next')
  t.equal(turns.waiting, 1, 'the first waits now')
  second.leave()
  t.equal(await again, true, 'and comes in again')
  first.leave()
})

t.test(
  'who goes away, or waits too long, loses the place in the queue and nobody else does',
  async t => {
    const turns = createTurns({ atOnce: 1, waiting: 10, waitMs: 20 })
    const holder = turns.place()
    await holder.enter()
    t.equal(await turns.place().enter(), false, 'the time is over')
    const gone = new AbortController()
    const waits = turns.place(gone.signal).enter()
    gone.abort()
    t.equal(await waits, false, 'the client has gone')
    t.equal(await turns.place(gone.signal).enter(), false, 'and does not come back')
    t.equal(turns.waiting, 0, 'nothing is left of them')
    holder.leave()
    t.equal(await turns.place().enter(), true, 'the turn is free')
  }
)
