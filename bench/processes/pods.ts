/**
 * Many pods in one process: each sends from its own address with its own key, and asks again as the agent does.
 *
 * Keys and requests are made beforehand, so that what is measured is the server.
 */
import type { KeyObject } from 'node:crypto'
import { request } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CertificateNames } from '../../src/x509/names.ts'
import { makeKeyPairSync } from '../../src/x509/new-key.ts'
import { createCertificateRequest } from '../../src/x509/request.ts'
import { serveParent } from '../processes.ts'

export interface BurstPod {
  address: string
  token: string
}

export interface Burst {
  /** From the first connection to the last certificate. */
  seconds: number
  /** Each pod's own wait from when it was due, in milliseconds. */
  waits: number[]
  /** Answers that meant "again", and connections that broke, by code. */
  again: Record<string, number>
  /** Pods that got no certificate, by the last code. */
  failed: Record<string, number>
}

interface BurstTarget {
  url: string
  ca: string
  pods: BurstPod[]
  /** One after the other, whether the former ones have their answer or not; otherwise all at once. */
  perSecond?: number
}

/** By the address of the pod. */
const bodies = new Map<string, { key: KeyObject; text: string }>()
/** Some five minutes, as long as the agent goes on. */
const triesAtMost = 100

serveParent({
  prepare(addresses: string[]) {
    bodies.clear()
    for (const address of addresses) {
      const { privateKey } = makeKeyPairSync()
      bodies.set(address, { key: privateKey, text: bodyOf(address, privateKey) })
    }
  },
  async burst({
    url,
    ca,
    pods,
    perSecond = Number.POSITIVE_INFINITY
  }: BurstTarget): Promise<Burst> {
    const again: Burst['again'] = {}
    const failed: Burst['failed'] = {}
    const start = performance.now()
    const waits = await Promise.all(
      pods.map(async (pod, at) => {
        const due = start + (at / perSecond) * 1000
        if (due > start) await sleep(due - performance.now())
        const code = await enrolled(url, ca, pod, again)
        if (code !== undefined) count(failed, code)
        return performance.now() - due
      })
    )
    return { seconds: (performance.now() - start) / 1000, waits, again, failed }
  }
})

/** `undefined` once there is a certificate, else why there is none. */
async function enrolled(
  url: string,
  ca: string,
  pod: BurstPod,
  again: Burst['again']
): Promise<string | undefined> {
  const { key, text } = bodies.get(pod.address) ?? {}
  for (let tries = 1; ; tries += 1) {
    const first = await ask(url, ca, pod, text ?? '')
    // The authority takes the names from the request.
    const { status, code, retryAfterMs } =
      first.names && key ? await ask(url, ca, pod, bodyOf(pod.address, key, first.names)) : first
    if (status === 201) return undefined
    if ((status !== 503 && status !== 0) || tries === triesAtMost) return code
    count(again, code)
    await sleep(retryAfterMs)
  }
}

function bodyOf(address: string, key: KeyObject, names?: CertificateNames): string {
  return JSON.stringify({ csr: createCertificateRequest(key, names), podIPs: [address] })
}

interface Answered {
  status: number
  code: string
  retryAfterMs: number
  names?: CertificateNames | undefined
}

function ask(url: string, ca: string, pod: BurstPod, body: string): Promise<Answered> {
  return new Promise(resolve => {
    const sent = request(
      url,
      {
        method: 'POST',
        ca,
        agent: false,
        localAddress: pod.address,
        headers: {
          authorization: `Bearer ${pod.token}`,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body)
        }
      },
      response => {
        const chunks: Buffer[] = []
        response.on('data', chunk => chunks.push(chunk))
        response.on('end', () => {
          const { statusCode: status = 0, headers } = response
          const { code = String(status), names } = readRefusal(Buffer.concat(chunks))
          resolve({ status, code, names, retryAfterMs: Number(headers['retry-after'] ?? 1) * 1000 })
        })
      }
    )
    sent.on('error', (error: NodeJS.ErrnoException) =>
      resolve({ status: 0, code: error.code ?? error.message, retryAfterMs: 1000 })
    )
    sent.end(body)
  })
}

function readRefusal(body: Buffer): { code?: string; names?: CertificateNames } {
  try {
    const { code, dnsNames, ipAddresses } = JSON.parse(body.toString('utf8'))
    return { code, ...(code === 'NamesRequired' ? { names: { dnsNames, ipAddresses } } : {}) }
  } catch {
    return {}
  }
}

function count(counts: Record<string, number>, code: string): void {
  counts[code] = (counts[code] ?? 0) + 1
}
