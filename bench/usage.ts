/**
 * What a process has used, from Linux's /proc; NaN elsewhere.
 *
 * On a machine that does other work as well, time on the processor says more than time on the clock.
 */
import { readFile } from 'node:fs/promises'

/** USER_HZ, which Linux has fixed for all architectures that Node runs on. */
const ticksPerSecond = 100

/** User and system time since the start of the process, all threads. */
export async function processorMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  // The second field is the program's name in parentheses and may hold anything (proc(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return ((Number(fields[11]) + Number(fields[12])) * 1000) / ticksPerSecond
}

export async function residentMegabytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? Number.NaN) / 1024
}
