/**
 * What makes our init container hold the token for other code than ours, though its image and its command are ours.
 *
 * One judgement for two rooms: admission refuses such a container, and enrollment looks again, because others may change the
 * pod in between. Whatever else they add to it (a proxy's variables, a cloud's token) is left alone.
 */
import type { Container, VolumeMount } from '../kubernetes/objects.ts'
import {
  apiTokenDirectory,
  noApiTokenVolume,
  tlsDirectory,
  tlsVolume,
  tokenDirectory,
  tokenVolume
} from './pod.ts'

export const enrollMounts: readonly VolumeMount[] = [
  { name: tlsVolume, mountPath: tlsDirectory },
  { name: tokenVolume, mountPath: tokenDirectory, readOnly: true },
  // The ServiceAccount plugin runs again after us and mounts the API token where nothing else is mounted.
  { name: noApiTokenVolume, mountPath: apiTokenDirectory, readOnly: true }
]

/**
 * Where code of the image is found: the program, Node, and what the loader (ld.so(8)) and OpenSSL (its `nodejs_conf` names
 * modules) load. The policies of the chart have the same list.
 */
export const programPlaces: readonly string[] = [
  '/opt/rayguard',
  '/bin',
  '/sbin',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  '/usr/bin',
  '/usr/sbin',
  '/usr/lib',
  '/usr/lib32',
  '/usr/lib64',
  '/usr/libx32',
  '/usr/local/bin',
  '/usr/local/sbin',
  '/usr/local/lib',
  '/etc/ld.so.preload',
  '/etc/ld.so.cache',
  '/etc/ssl/openssl.cnf'
]

/** Variables that make Node or the loader run something else (node(1), ld.so(8)). The agent is told whom to trust by ours. */
const steering = /^(?:NODE_|LD_|OPENSSL_|PATH$)/

/** For people: what of a variable, a list of variables, a device or a capability steers the program. */
export function foreignCode(container: Container): string | undefined {
  if (container.envFrom?.length) return 'it has envFrom'
  if (container.volumeDevices?.length) return 'it has volumeDevices'
  if (container.securityContext?.capabilities?.add?.length) return 'it adds capabilities'
  const found = container.env?.find(({ name }) => steering.test(name))
  // What is plain of its name, which may be anything in a dry run.
  return found && `it sets the variable "${/^\w{1,80}/.exec(found.name)?.[0]}"`
}

/**
 * A mount that puts something else in the place of the program or of our own mounts. `place`: what it meets.
 *
 * A runtime follows the links in what it has mounted already, before it takes a `..` back. Attack: a volume with a link `x` to
 * `/opt`, and another one at `x/rayguard` in it; `/proc/self/root/opt`, which is `/opt`.
 */
export function foreignMount(
  container: Container
): { mount: VolumeMount; place: string } | undefined {
  const found = (container.volumeMounts ?? [])
    .filter(mount => !enrollMounts.some(ours => isSameMount(mount, ours)))
    .map(mount => ({ mount, path: resolved(mount.mountPath) }))
  for (const { mount, path } of found) {
    if (mount.mountPath.split('/').includes('..')) return { mount, place: 'what a “..” leads to' }
    if (ofProcess.test(path)) return { mount, place: 'the files of a process' }
    const met = guarded.find(each => meet(path, each.path))
    if (met) return { mount, place: met.place }
  }
  // Whatever lies below a path follows it at once.
  found.sort((one, other) => (one.path < other.path ? -1 : 1))
  const inner = found.find(({ path }, at) => at > 0 && meet(path, found[at - 1]?.path ?? path))
  return inner && { mount: inner.mount, place: 'another volume' }
}

/** proc(5). Other files there are replaced by such as LXCFS, rightly. */
const ofProcess = /^\/proc\/(?:self|thread-self|\d+)\//

const guarded = [...enrollMounts.map(({ mountPath }) => mountPath), ...programPlaces].map(
  place => ({ place, path: resolved(place) })
)

/** `subPath` would mount something else than the volume. */
export function isSameMount(mount: VolumeMount, wanted: VolumeMount): boolean {
  return (
    mount.name === wanted.name &&
    mount.mountPath === wanted.mountPath &&
    !mount.subPath &&
    !mount.subPathExpr
  )
}

/** True when one of the two paths is the other or lies above it. */
export function overlaps(one: string, other: string): boolean {
  return meet(resolved(one), resolved(other))
}

function meet(one: string, other: string): boolean {
  return one.startsWith(other) || other.startsWith(one)
}

/** From the root, without empty and `.` members, `..` taken back. Ends in a slash, so that what is above begins what is below. */
function resolved(path: string): string {
  const members: string[] = []
  for (const member of path.split('/')) {
    if (member === '..') members.pop()
    else if (member !== '' && member !== '.') members.push(member)
  }
  return ['', ...members, ''].join('/')
}
