/**
 * Whoever approves and signs in a cluster, played on the stand-in for the Kubernetes API: for CertificateSigningRequests,
 * and for CertificateRequests as cert-manager does it.
 */
import type { StandIn } from '../../src/demo/stand-in.ts'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'
import type { Workshop } from '../x509/openssl.ts'
import { type Bend, signRequest } from './signer.ts'

export type PlayedKind = 'CertificateSigningRequest' | 'CertificateRequest'

type RequestObject = KubernetesObject & {
  spec: { request?: string; isCA?: boolean | null; usages?: string[] | null }
  status?: { conditions?: Condition[] | null; certificate?: string | null } | null
}

interface Condition {
  type: string
  status: string
  reason?: string
  message?: string
}

/** `leave`: nobody has approved; `wait`: somebody has, where it is cert-manager. */
type Behaviour = 'sign' | 'leave' | 'wait' | 'deny' | 'fail'

export interface PlayedSigner {
  /** Every object that was created, as it was sent. */
  readonly created: RequestObject[]
  /** What is there now. */
  present(): RequestObject[]
  /** What it does wrong; `undefined`: nothing. */
  bend: Bend | undefined
  /** Signs what is there already too. */
  behave(as: Behaviour): void
  /** The name of the CA in the workshop, made by `makeCa`. */
  ca: string
  /** Names of what is told above the CA, as cert-manager does it. */
  above: string[]
  lifetimeSeconds: number
}

const versions = {
  CertificateSigningRequest: 'certificates.k8s.io/v1',
  CertificateRequest: 'cert-manager.io/v1'
}
const why = { reason: 'Policy', message: 'not on\nSundays' }

export function playSigner(
  standIn: StandIn,
  workshop: Workshop,
  kind: PlayedKind,
  lifetimeSeconds: number
): PlayedSigner {
  const created: RequestObject[] = []
  const present = () =>
    (
      standIn.store.list(
        { kind, apiVersion: versions[kind], namespace: undefined, name: undefined },
        new URLSearchParams()
      ) as { items: RequestObject[] }
    ).items
  let behaviour: Behaviour = 'sign'
  const signer: PlayedSigner = {
    created,
    present,
    bend: undefined,
    ca: 'ca',
    above: [],
    lifetimeSeconds,
    behave(as) {
      behaviour = as
      for (const object of present()) look(object)
    }
  }
  standIn.store.subscribe(({ type, object }) => {
    if (object.kind !== kind || type === 'DELETED') return
    if (type === 'ADDED') created.push(structuredClone(object) as RequestObject)
    // Not within the call that has just stored it.
    setImmediate(() => look(object as RequestObject))
  })
  return signer

  function look(object: RequestObject): void {
    const current = present().find(({ metadata }) => metadata.uid === object.metadata.uid)
    const types = (current?.status?.conditions ?? []).map(({ type }) => type)
    const done =
      current?.status?.certificate || types.some(type => /Denied|Failed|Ready/.test(type))
    if (current === undefined || done || behaviour === 'leave') return
    // cert-manager approves by itself; a CertificateSigningRequest needs somebody who does.
    if (behaviour === 'wait') {
      if (kind === 'CertificateRequest' && !types.includes('Approved')) approve(standIn, current)
      return
    }
    if (kind === 'CertificateSigningRequest' && behaviour === 'sign' && !types.includes('Approved'))
      return
    standIn.put({ ...current, status: { ...current.status, ...outcome(current) } })
  }

  function outcome(object: RequestObject): RequestObject['status'] {
    const conditions = object.status?.conditions ?? []
    if (behaviour === 'deny') {
      return { conditions: [...conditions, { type: 'Denied', status: 'True', ...why }] }
    }
    if (behaviour === 'fail') {
      const failed =
        kind === 'CertificateRequest'
          ? { ...why, type: 'Ready', status: 'False', reason: 'Failed' }
          : { ...why, type: 'Failed', status: 'True' }
      return { conditions: [...conditions, failed] }
    }
    return signed(object, conditions)
  }

  function signed(object: RequestObject, conditions: Condition[]): RequestObject['status'] {
    const { spec } = object
    const csr = Buffer.from(spec.request ?? '', 'base64').toString()
    const { ca, above, lifetimeSeconds } = signer
    const ofIssuer = kind === 'CertificateRequest'
    const isCA = ofIssuer ? (spec.isCA ?? false) : spec.usages?.includes('cert sign')
    // cert-manager knows no path length.
    const bend = signer.bend ?? (ofIssuer ? 'no path length' : undefined)
    const certificate = signRequest(workshop, { csr, ca, lifetimeSeconds, bend, isCA })
    if (!ofIssuer) return { conditions, certificate: base64(certificate) }
    // The highest is what it calls the CA; those between follow the certificate.
    const path = [ca, ...above].map(name => workshop.read(`${name}.crt`))
    const [highest = '', ...between] = path.reverse()
    const chain = certificate + between.reverse().join('')
    const issued = [
      { type: 'Approved', status: 'True' },
      { type: 'Ready', status: 'True', reason: 'Issued' }
    ]
    return { conditions: issued, certificate: base64(chain), ...{ ca: base64(highest) } }
  }
}

/** What the API server says of the kinds of cert-manager. */
export function kindsOfCertManager(path: string): { status: number; body: object } | undefined {
  const group = { preferredVersion: { groupVersion: 'cert-manager.io/v1' } }
  const bodies: Record<string, object> = {
    '/apis/cert-manager.io': group,
    '/apis/cert-manager.io/v1': { resources: [{ kind: 'Issuer', namespaced: true }] }
  }
  const body = bodies[path]
  return body && { status: 200, body }
}

export function approve(standIn: StandIn, object: RequestObject): void {
  const conditions = [...(object.status?.conditions ?? []), { type: 'Approved', status: 'True' }]
  standIn.put({ ...object, status: { ...object.status, conditions } } as RequestObject)
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}
