/** An API server that creates pods at a steady pace, whatever else happens: each admission is timed from when it was due. */
import { Agent, request } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import { serveParent } from '../processes.ts'

interface Pace {
  url: string
  ca: string
  bodies: string[]
  perSecond: number
}

let running: { stopped: boolean; done: Promise<number[]> } | undefined

serveParent({
  start(pace: Pace) {
    const state = { stopped: false, done: Promise.resolve<number[]>([]) }
    state.done = keepPace(pace, () => state.stopped)
    running = state
  },
  /** Milliseconds of each admission since `start`. */
  async stop(): Promise<number[]> {
    if (running === undefined) return []
    running.stopped = true
    return running.done
  }
})

/** As the API server does: few connections, kept open. */
const agent = new Agent({ keepAlive: true, maxSockets: 8 })

async function keepPace(pace: Pace, stopped: () => boolean): Promise<number[]> {
  const { url, ca, bodies, perSecond } = pace
  const waits: Promise<number>[] = []
  const start = performance.now()
  for (let sent = 0; !stopped(); sent += 1) {
    const due = start + (sent / perSecond) * 1000
    const early = due - performance.now()
    if (early > 1) await sleep(early)
    waits.push(
      admit(url, ca, bodies[sent % bodies.length] ?? '').then(() => performance.now() - due)
    )
  }
  return Promise.all(waits)
}

function admit(url: string, ca: string, body: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        method: 'POST',
        ca,
        agent,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      },
      response => {
        response.resume()
        response.on('end', () =>
          response.statusCode === 200
            ? resolve()
            : reject(new Error(`/mutate answered ${response.statusCode}.`))
        )
      }
    )
    sent.on('error', reject)
    sent.end(body)
  })
}
