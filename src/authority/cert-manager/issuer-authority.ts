/**
 * The authority over an issuer of cert-manager, of any group, which is asked by CertificateRequests in Rayguard's own
 * namespace.
 *
 * Decides what the object asks for. Approval is cert-manager's own, or that of its approver-policy.
 */
import { createCalls } from '../../kubernetes/calls.ts'
import { path } from '../../kubernetes/path.ts'
import type { Right } from '../../kubernetes/rights.ts'
import type { Certificate } from '../../x509/certificate.ts'
import type { Chain } from '../../x509/chain.ts'
import { encodePem } from '../../x509/pem.ts'
import { publicKeyAlgorithm } from '../../x509/public-key.ts'
import { descriptionOf, openAnchorFile } from '../anchor-file.ts'
import {
  asksForSame,
  authorityUsages,
  contentOf,
  encodeRequest,
  equalUsages,
  leafUsages
} from '../asked-content.ts'
import type { Authority, IntermediateAuthority, LeafRequest } from '../authority.ts'
import {
  intermediateProblem,
  isSameLife,
  refuseClients,
  refuseForeignNames,
  refuseIntermediate,
  secondsToAsk
} from '../limits.ts'
import { type AuthorityOptions, clusterOf } from '../options.ts'
import {
  createRequestDesk,
  type Patience,
  type RequestDesk,
  type WantedRequest
} from '../request-objects.ts'
import { issuedCertificate, readAnswer } from '../signed-answer.ts'
import {
  type CertificateRequest,
  changesOf,
  durationSeconds,
  type IssuerReference,
  progressOf
} from './certificate-request.ts'
import { checkIssuerKind } from './issuer-kind.ts'
import { caOfAnswers, caOfFile, type IssuingCa } from './issuing-ca.ts'
import { createProbe, type Probe } from './probe.ts'
import { lookForRenewedCa } from './renewed-ca.ts'

export interface CertManagerSettings {
  kind: 'cert-manager'
  issuer: IssuerReference
  issuerOpenToAllNamespaces: boolean
  certificateFile?: string | undefined
}

const kind = 'cert-manager'

/** Throws AuthorityError. */
export async function openCertManagerAuthority(
  settings: CertManagerSettings,
  options: AuthorityOptions
): Promise<Authority> {
  const { issuer, certificateFile, issuerOpenToAllNamespaces } = settings
  const { client, namespace } = clusterOf(options)
  const { probe = createProbe() } = options
  const collection = path`/apis/cert-manager.io/v1/namespaces/${namespace}/certificaterequests`
  // Before the cluster is asked: what is wrong with a file shows at once.
  const file =
    certificateFile === undefined
      ? undefined
      : await openAnchorFile(kind, { certificateFile }, options)
  const ca = file === undefined ? caOfAnswers(kind, options) : caOfFile(file)
  let desk: RequestDesk<CertificateRequest> | undefined
  let stopLooking = async () => {}
  const close = async () => {
    await stopLooking()
    await desk?.close()
    await file?.close()
  }
  try {
    await checkIssuerKind(createCalls(client), issuer, issuerOpenToAllNamespaces)
    const opened = createRequestDesk<CertificateRequest>(
      { collection, progress: progressOf, changes: changesOf, isOwn: () => true },
      options
    )
    desk = opened
    const ask = asking(opened, ca, issuer, options.clock)
    const withdraw: Withdraw = asked =>
      opened.withdraw(wanted(asked, issuer, asked.lifetimeSeconds))
    const learn = learning(opened, ca, issuer, probe)
    const first = ca.chain ?? (await learn())
    const chain = () => ca.chain ?? first
    if (file === undefined) {
      const answeredAt = () => ca.answeredAt
      stopLooking = lookForRenewedCa({ ...options, chain, answeredAt, ask: learn })
    }
    return {
      namesFrom: 'request',
      async issue(request) {
        refuseClients(request)
        const { certificate, chain } = await ask(request)
        return issuedCertificate(certificate, chain)
      },
      describe: () => descriptionOf(kind, chain()),
      chain,
      intermediates: intermediatesOf(ask, withdraw, chain),
      close
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** What is asked for: a pod, nobody's pod, or without names the CA of a Ray cluster. */
type Asked = Pick<LeafRequest, 'csr' | 'publicKey' | 'lifetimeSeconds'> &
  Partial<Pick<LeafRequest, 'names' | 'rayCluster'>>

type Ask = (asked: Asked) => Promise<{
  certificate: Certificate
  /** The CA that has signed it. */
  chain: Chain
}>

type Withdraw = (asked: Asked) => void

function asking(
  desk: RequestDesk<CertificateRequest>,
  ca: IssuingCa,
  issuer: IssuerReference,
  clock: () => number
): Ask {
  return async asked => {
    let seconds = asked.lifetimeSeconds
    if (ca.chain !== undefined) {
      if (asked.names !== undefined) refuseForeignNames(ca.chain, asked.names)
      seconds = secondsToAsk(ca.chain, seconds, clock())
    }
    const answer = await desk.ask(wanted(asked, issuer, seconds))
    return { certificate: readAnswer(answer.certificate)[0], chain: ca.of(answer) }
  }
}

/** By a request of always the same life, whatever the CA that is known would still sign: it may have ended. */
function learning(
  desk: RequestDesk<CertificateRequest>,
  ca: IssuingCa,
  issuer: IssuerReference,
  probe: Probe
): (patience?: Patience) => Promise<Chain> {
  return async patience => {
    const asked = await probe()
    const request = wanted(asked, issuer, asked.lifetimeSeconds)
    try {
      return ca.of(await desk.ask(request, patience))
    } catch (error) {
      // Of a process that ends: its key goes with it, and nobody should still approve it.
      if (patience?.signal.aborted) desk.withdraw(request)
      throw error
    }
  }
}

/** `isCA` says all: cert-manager takes subject and key from the request, and knows no path length. */
function intermediatesOf(ask: Ask, withdraw: Withdraw, chain: () => Chain): IntermediateAuthority {
  return {
    leavesOutPathLength: true,
    problem: () => intermediateProblem(chain()),
    async issue({ csr, publicKey, lifetimeSeconds, rayCluster }) {
      refuseIntermediate(intermediateProblem(chain()))
      const { certificate } = await ask({ csr, publicKey, lifetimeSeconds, rayCluster })
      return encodePem('CERTIFICATE', certificate.der)
    },
    withdraw({ csr, publicKey, lifetimeSeconds, rayCluster }) {
      withdraw({ csr, publicKey, lifetimeSeconds, rayCluster })
    }
  }
}

function wanted(
  { csr, publicKey, names, rayCluster, lifetimeSeconds }: Asked,
  issuerRef: IssuerReference,
  seconds: number
): WantedRequest<CertificateRequest> {
  const { name, kind, group } = issuerRef
  const isCA = names === undefined
  const usages = isCA ? authorityUsages : leafUsages(publicKeyAlgorithm(publicKey))
  return {
    identity: [group, kind, name, String(isCA), String(lifetimeSeconds), contentOf(csr)],
    rayCluster,
    object: {
      apiVersion: 'cert-manager.io/v1',
      kind: 'CertificateRequest',
      spec: { request: encodeRequest(csr), issuerRef, duration: `${seconds}s`, usages, isCA }
    },
    isSame: ({ spec }) =>
      spec.issuerRef?.name === name &&
      spec.issuerRef.kind === kind &&
      spec.issuerRef.group === group &&
      (spec.isCA ?? false) === isCA &&
      asksForSame(spec.request, csr) &&
      equalUsages(spec.usages, usages) &&
      isSameLife(durationSeconds(spec.duration), { seconds, lifetimeSeconds })
  }
}

/** What Rayguard's service account needs beside its other rights. */
export function certManagerRights(namespace: string): Right[] {
  return ['create', 'get', 'list', 'watch', 'delete'].map(verb => ({
    ...{ verb, group: 'cert-manager.io', resource: 'certificaterequests' },
    namespace
  }))
}
