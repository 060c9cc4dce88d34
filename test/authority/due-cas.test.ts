/** How many CAs of RayClusters wait for something, by which a former key may go or has to stay. */
import { createHmac, randomBytes } from 'node:crypto'
import t from 'tap'
import type { Authority } from '../../src/authority/authority.ts'
import { openSealing } from '../../src/authority/pkcs11/sealing.ts'
import { cluster, dayMs, openPerCluster, upkeepOf } from '../support/per-cluster-stage.ts'

const { external, stage } = openPerCluster(t)
const [former, present] = [randomBytes(32), randomBytes(32)]

/** As by a token that holds these keys. */
const sealedBy = (sealing: Buffer, formerSealing?: Buffer) =>
  openSealing({
    key: {
      async sign({ by }, bytes) {
        const key = by === 'formerSealing' ? formerSealing : sealing
        return createHmac('sha256', key ?? '')
          .update(bytes)
          .digest()
      }
    },
    hasFormer: formerSealing !== undefined,
    random: randomBytes
  })

t.test('what waits is counted by a whole round, when all of it was tried', async t => {
  const { replica, time, standIn } = await stage(t)
  const of = (changes: Partial<Authority>) =>
    replica({ authority: external(() => time.now, changes) })
  const nothing = { unsealed: 0, formerSeal: 0, renewal: 0 }
  const one = cluster('one')
  const plain = of({})
  await plain.issue(one)
  const faults: unknown[] = []
  const looked = async (found: ReturnType<typeof of>) => {
    const upkeep = upkeepOf(found, { onFault: error => void faults.push(error) })
    t.equal(upkeep.due(), undefined, 'not known before the first round')
    await upkeep.look()
    return upkeep
  }
  t.strictSame((await looked(plain)).due(), nothing, 'without a key that seals')

  const before = await sealedBy(former)
  const fails = async () => {
    throw new Error('it fails')
  }
  const unable = of({ protection: { ...before, seal: fails } })
  t.strictSame((await looked(unable)).due(), { ...nothing, unsealed: 1 }, 'not sealed')
  t.strictSame((await looked(of({ protection: before }))).due(), nothing, 'sealed')

  const both = await sealedBy(present, former)
  const stuck = of({ protection: { ...both, seal: fails } })
  t.strictSame((await looked(stuck)).due(), { ...nothing, formerSeal: 1 }, 'the former key stays')
  const alone = of({ protection: await sealedBy(present) })
  t.strictSame((await looked(alone)).due(), { ...nothing, formerSeal: 1 }, 'it has gone too early')
  const other = of({ protection: { ...both, isCurrent: () => true, kind: 'another' } })
  t.strictSame((await looked(other)).due(), { ...nothing, formerSeal: 1 }, 'that of another kind')
  const gone = of({ protection: { ...both, isCurrent: () => true }, problem: () => 'is away' })
  t.equal((await looked(gone)).due(), undefined, 'not known while the authority is away')
  const works = await looked(of({ protection: both }))
  t.strictSame(works.due(), nothing, 'the former key may go')
  t.strictSame((await looked(alone)).due(), nothing, 'and all is well without it')

  time.now += 200 * dayMs
  const { intermediates } = external(() => time.now)
  const refuses = of({
    protection: both,
    intermediates: { problem: () => undefined, ...intermediates, issue: fails }
  })
  t.strictSame((await looked(refuses)).due(), { ...nothing, renewal: 1 }, 'not renewed')
  t.equal(faults.length, 4, 'each fault was told')

  standIn.interfere(({ path }) => (/secrets/.test(path) ? { status: 500 } : undefined))
  await works.look()
  t.equal(works.due(), undefined, 'a round that was not whole says nothing')
  standIn.interfere(undefined)
  await works.look()
  t.strictSame(works.due(), nothing, 'the next one does: all is done')
})
