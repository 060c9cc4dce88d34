/**
 * The shape of what Pod Security reads, as a table: which member is of which type, so that no check meets a value that it
 * does not expect.
 */
type Kind = 'string' | 'number' | 'boolean' | Shape | [Shape]
type Shape = { readonly [member: string]: Kind }
type Problem = { path: string; expected: string } | undefined

const selinux: Shape = { type: 'string', user: 'string', role: 'string' }
const profile: Shape = { type: 'string' }
const context: Shape = {
  runAsUser: 'number',
  runAsNonRoot: 'boolean',
  seccompProfile: profile,
  appArmorProfile: profile,
  seLinuxOptions: selinux,
  windowsOptions: { hostProcess: 'boolean' }
}
const handler: Shape = { httpGet: { host: 'string' }, tcpSocket: { host: 'string' } }

const specShape: Shape = {
  hostNetwork: 'boolean',
  hostPID: 'boolean',
  hostIPC: 'boolean',
  hostUsers: 'boolean',
  os: { name: 'string' },
  securityContext: { ...context, sysctls: [{ name: 'string', value: 'string' }] }
}

const containerShape: Shape = {
  securityContext: {
    ...context,
    privileged: 'boolean',
    allowPrivilegeEscalation: 'boolean',
    procMount: 'string'
  },
  ports: [{ containerPort: 'number', hostPort: 'number' }],
  livenessProbe: handler,
  readinessProbe: handler,
  startupProbe: handler,
  lifecycle: { postStart: handler, preStop: handler }
}

export function specSecurityProblem(spec: object, path: string): Problem {
  return problemIn(spec, specShape, path)
}

export function containerSecurityProblem(container: object, path: string): Problem {
  return problemIn(container, containerShape, path)
}

/** Absent and null are what the API server takes them for. Recursion goes as deep as the table. */
function problemIn(value: object, shape: Shape, path: string): Problem {
  for (const member of Object.keys(shape)) {
    const found = Object.hasOwn(value, member) ? (value as Record<string, unknown>)[member] : null
    if (found === undefined || found === null) continue
    const problem = problemOf(found, shape[member] as Kind, `${path}.${member}`)
    if (problem) return problem
  }
  return undefined
}

function problemOf(value: unknown, kind: Kind, path: string): Problem {
  if (typeof kind === 'string') {
    return typeof value === kind ? undefined : { path, expected: `a ${kind}` }
  }
  if (!isList(kind)) {
    return isObject(value) ? problemIn(value, kind, path) : { path, expected: 'an object' }
  }
  if (!Array.isArray(value)) return { path, expected: 'a list' }
  for (let index = 0; index < value.length; index += 1) {
    const problem = problemOf(value[index], kind[0], `${path}[${index}]`)
    if (problem) return problem
  }
  return undefined
}

function isList(kind: Shape | [Shape]): kind is [Shape] {
  return Array.isArray(kind)
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
