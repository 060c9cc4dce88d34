/** Runs the agent inside the test's process with a clock, a die and a sleep that the test holds. */
import { join } from 'node:path'
import type { Test } from 'tap'
import { type Enrolled, enroll } from '../../src/agent/agent.ts'
import type { ExchangeTimeouts } from '../../src/agent/exchange.ts'
import { createJournal } from '../../src/agent/journal.ts'
import { type EnrollOptions, readOptions } from '../../src/agent/options.ts'
import { agentVariables } from '../../src/contract/pod.ts'
import type { EnrollmentStandIn } from './enrollment-stand-in.ts'

export const podIPs = ['10.1.2.3', 'fd00::5']
export const token = 'header.payload.signature'

export interface Place {
  directory: string
  tokenFile: string
  terminationLog: string
}

/** An empty directory for the files, a token and a termination log, as the kubelet lays them out. */
export function newPlace(t: Test): Place {
  const root = t.testdir({ tls: {}, token: `${token}\n`, 'termination-log': '' })
  return {
    directory: join(root, 'tls'),
    tokenFile: join(root, 'token'),
    terminationLog: join(root, 'termination-log')
  }
}

export function environmentFor(standIn: Pick<EnrollmentStandIn, 'url' | 'serverCa'>) {
  return {
    [agentVariables.serverUrl]: standIn.url,
    [agentVariables.serverCa]: standIn.serverCa,
    [agentVariables.podIPs]: podIPs.join(','),
    [agentVariables.podName]: 'worker-1',
    [agentVariables.podNamespace]: 'team'
  }
}

export function optionsFor(
  standIn: Pick<EnrollmentStandIn, 'url' | 'serverCa'>,
  place: Place,
  overrides: Partial<EnrollOptions> = {}
): EnrollOptions {
  const { options, errors } = readOptions(environmentFor(standIn), {
    directory: place.directory,
    'token-file': place.tokenFile,
    'termination-log': place.terminationLog
  })
  if (options === undefined) throw new Error(errors.join(' '))
  return { ...options, ...overrides }
}

export interface Run {
  /** `undefined` when the agent was still asking after `tries` failures. */
  outcome: Enrolled | undefined
  sleeps: number[]
  entries: { level: string; message: string; code?: string; try?: number; requestId?: string }[]
  log: string
}

export interface RunSettings {
  /** The run is given up after so many failures; 20 by default. */
  tries?: number
  now?: () => number
  random?: () => number
  timeouts?: ExchangeTimeouts
  /** Before the next try, as time passes in the cluster. */
  meanwhile?: (failures: number) => void | Promise<void>
}

export async function run(options: EnrollOptions, settings: RunSettings = {}): Promise<Run> {
  const { tries = 20, now = Date.now, random = () => 0.5, timeouts, meanwhile } = settings
  const lines: string[] = []
  const sleeps: number[] = []
  const givenUp = new Error('given up')
  const sleep = async (milliseconds: number) => {
    sleeps.push(milliseconds)
    if (sleeps.length >= tries) throw givenUp
    await meanwhile?.(sleeps.length)
  }
  const outcome = await enroll(options, {
    now,
    random,
    sleep,
    journal: createJournal(now, line => lines.push(line)),
    ...(timeouts === undefined ? {} : { timeouts })
  }).catch(error => {
    if (error !== givenUp) throw error
    return undefined
  })
  return { outcome, sleeps, entries: lines.map(line => JSON.parse(line)), log: lines.join('') }
}
