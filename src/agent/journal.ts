/** One line of the agent's log. Holds no token, key, request or environment: only what is listed here is written. */
export interface Entry {
  level: 'info' | 'warn' | 'error'
  message: string
  code?: string
  requestId?: string
  try?: number
  retryInMs?: number
}

export interface Journal {
  write(entry: Entry): void
  /** Like `write`, but a failure that goes on is written only at first, once a minute, and when its reason changes. */
  writeFailure(entry: Entry & { code: string }): void
}

const writtenInFull = 5
const repeatMs = 60_000

export function createJournal(now: () => number, line: (text: string) => void): Journal {
  let failures = 0
  let lastCode = ''
  let lastWritten = 0
  const write = (entry: Entry) => {
    lastWritten = now()
    line(`${JSON.stringify({ time: new Date(lastWritten).toISOString(), ...entry })}\n`)
  }
  return {
    write,
    writeFailure(entry) {
      failures += 1
      const news = entry.code !== lastCode || now() - lastWritten >= repeatMs
      lastCode = entry.code
      if (news || failures <= writtenInFull) write(entry)
    }
  }
}
