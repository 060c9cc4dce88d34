/**
 * The authority over a signer of the cluster, which is asked by CertificateSigningRequests.
 *
 * Decides what the object asks for, and approves it where the settings say so: all that is in it has been confirmed before.
 * The API hands out no CA, so what pods trust is a file.
 */
import { isDeepStrictEqual } from 'node:util'
import type { Client } from '../../kubernetes/client.ts'
import type { CertificateSigningRequest, ObjectMeta } from '../../kubernetes/objects.ts'
import { path, signingRequestsPath } from '../../kubernetes/path.ts'
import type { Right } from '../../kubernetes/rights.ts'
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
import {
  type Authority,
  AuthorityError,
  type IntermediateAuthority,
  type IntermediateRequest,
  type LeafRequest
} from '../authority.ts'
import {
  intermediateProblem,
  isSameLife,
  refuseClients,
  refuseForeignNames,
  refuseIntermediate,
  secondsToAsk
} from '../limits.ts'
import { type AuthorityOptions, clusterOf } from '../options.ts'
import { createRequestDesk, faultOf, type WantedRequest } from '../request-objects.ts'
import { issuedCertificate, readAnswer, requireIssuer } from '../signed-answer.ts'
import { changesOf, progressOf } from './signing-request.ts'

export interface KubernetesCsrSettings {
  kind: 'kubernetes-csr'
  certificateFile: string
  signerName: string
  /** Of the CAs of RayClusters; absent where nobody signs those. */
  intermediateSignerName?: string | undefined
  approve: boolean
}

/** Throws AuthorityError. */
export async function openKubernetesCsrAuthority(
  settings: KubernetesCsrSettings,
  options: AuthorityOptions
): Promise<Authority> {
  const { client } = clusterOf(options)
  const anchor = await openAnchorFile(settings.kind, settings, options)
  const username = await ownName(client).catch(async error => {
    await anchor.close()
    throw faultOf(error)
  })
  const desk = createRequestDesk<CertificateSigningRequest>(
    {
      collection: signingRequestsPath,
      progress: progressOf,
      changes: changesOf,
      isOwn: ({ spec }) => spec.username === username,
      approve: settings.approve
        ? (object, sent) => approve(client, settings, object, sent)
        : undefined
    },
    options
  )

  /** PEM of what the signer answers. */
  async function ask(asked: Asked): Promise<string> {
    const seconds = secondsToAsk(anchor.chain, asked.lifetimeSeconds, options.clock())
    const { certificate } = await desk.ask(wanted(asked, username, seconds))
    return certificate
  }

  return {
    namesFrom: 'request',
    async issue(request) {
      refuseClients(request)
      refuseForeignNames(anchor.chain, request.names)
      const answer = await ask(leafOf(settings, request))
      return issuedCertificate(readAnswer(answer)[0], anchor.chain)
    },
    describe: () => descriptionOf(settings.kind, anchor.chain),
    chain: () => anchor.chain,
    intermediates: intermediatesOf(settings, {
      chain: () => anchor.chain,
      ask,
      withdraw: asked => desk.withdraw(wanted(asked, username, asked.lifetimeSeconds))
    }),
    async close() {
      await desk.close()
      await anchor.close()
    }
  }
}

interface Asked extends Pick<LeafRequest, 'csr' | 'lifetimeSeconds' | 'rayCluster'> {
  signerName: string
  usages: string[]
}

function leafOf(
  { signerName }: KubernetesCsrSettings,
  { csr, publicKey, lifetimeSeconds, rayCluster }: LeafRequest
): Asked {
  const usages = leafUsages(publicKeyAlgorithm(publicKey))
  return { csr, lifetimeSeconds, rayCluster, signerName, usages }
}

/** The request says subject, CA:TRUE and path length 0; whether the signer has kept to it is judged by whoever asks. */
function intermediatesOf(
  { intermediateSignerName: signerName }: KubernetesCsrSettings,
  desk: {
    chain(): Chain
    ask(asked: Asked): Promise<string>
    withdraw(asked: Asked): void
  }
): IntermediateAuthority {
  if (signerName === undefined) {
    const problem = 'no signer of CAs is named (authority.intermediateSignerName)'
    return {
      problem: () => problem,
      async issue() {
        throw new AuthorityError('Invalid', `No CA is signed: ${problem}.`)
      }
    }
  }
  const asked = ({ csr, lifetimeSeconds, rayCluster }: IntermediateRequest): Asked => ({
    ...{ csr, lifetimeSeconds, rayCluster, signerName, usages: authorityUsages }
  })
  return {
    problem: () => intermediateProblem(desk.chain()),
    issuers: () => desk.chain().trustAnchor,
    async issue(request) {
      refuseIntermediate(intermediateProblem(desk.chain()))
      const [certificate] = readAnswer(await desk.ask(asked(request)))
      requireIssuer(certificate, desk.chain())
      return encodePem('CERTIFICATE', certificate.der)
    },
    withdraw: request => desk.withdraw(asked(request))
  }
}

function wanted(
  { csr, lifetimeSeconds, rayCluster, signerName, usages }: Asked,
  username: string,
  seconds: number
): WantedRequest<CertificateSigningRequest> {
  return {
    identity: [signerName, String(lifetimeSeconds), contentOf(csr)],
    rayCluster,
    object: {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      spec: { request: encodeRequest(csr), signerName, expirationSeconds: seconds, usages }
    },
    // Attack: a tenant makes the request of his own pod before Rayguard does. Who has made it is written by the API server.
    isSame: ({ spec, metadata }, sent) =>
      spec.username === username &&
      saysOurs(metadata.labels, sent.labels) &&
      saysOurs(metadata.annotations, sent.annotations) &&
      spec.signerName === signerName &&
      asksForSame(spec.request, csr) &&
      equalUsages(spec.usages, usages) &&
      isSameLife(spec.expirationSeconds, { seconds, lifetimeSeconds })
  }
}

/** What others note beside, such as a controller that labels whatever it sees, is left out of what we approve. */
function saysOurs(found: Words, sent: Words): boolean {
  const ours = Object.entries(found ?? {}).filter(
    ([key]) => key.startsWith('rayguard.dev/') || Object.hasOwn(sent ?? {}, key)
  )
  return isDeepStrictEqual(Object.fromEntries(ours), sent ?? {})
}

type Words = ObjectMeta['labels']

/** https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/self-subject-review-v1/ */
async function ownName(client: Client): Promise<string> {
  const review = await client.create<{ status?: { userInfo?: { username?: string } } } | null>(
    '/apis/authentication.k8s.io/v1/selfsubjectreviews',
    { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
    { repeatable: true }
  )
  const username = review?.status?.userInfo?.username
  if (username) return username
  throw new AuthorityError('Unavailable', 'The API server does not say who this program is.')
}

/**
 * `replace` names the version that was looked at: what is approved is what was compared.
 *
 * Attack: whoever may change such objects, and not approve them, writes an annotation on one from which its signer takes a
 * longer life or a CA (cert-manager: `experimental.cert-manager.io/request-is-ca`). The approval of the API server writes
 * labels and annotations, too, so that the version that is approved says what we have sent and nothing else.
 */
async function approve(
  client: Client,
  { intermediateSignerName }: KubernetesCsrSettings,
  object: CertificateSigningRequest,
  { labels = {}, annotations = {} }: ObjectMeta
): Promise<void> {
  const { name = '' } = object.metadata
  const message =
    object.spec.signerName === intermediateSignerName
      ? 'It is the CA of one RayCluster, which the Kubernetes API has confirmed; its key is Rayguard’s.'
      : 'The names are those of the asking pod, as the Kubernetes API has confirmed.'
  const condition = { type: 'Approved', status: 'True', reason: 'ConfirmedByRayguard', message }
  const conditions = [...(object.status?.conditions ?? []), condition]
  await client.replace(`${signingRequestsPath}${path`/${name}/approval`}`, {
    ...object,
    metadata: { ...object.metadata, labels, annotations },
    status: { ...object.status, conditions }
  })
}

/** What Rayguard's service account needs beside its other rights. */
export function kubernetesCsrRights({
  signerName,
  intermediateSignerName,
  approve
}: KubernetesCsrSettings): Right[] {
  const signers = [signerName, ...(intermediateSignerName ? [intermediateSignerName] : [])]
  const requests = { group: 'certificates.k8s.io', resource: 'certificatesigningrequests' }
  return [
    ...['create', 'get', 'list', 'watch', 'delete'].map(verb => ({ verb, ...requests })),
    ...(approve
      ? [
          { verb: 'update', ...requests, subresource: 'approval' },
          ...signers.map(name => ({
            ...{ verb: 'approve', group: requests.group },
            ...{ resource: 'signers', name }
          }))
        ]
      : [])
  ]
}
