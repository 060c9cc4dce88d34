/**
 * The authority over a signer of the cluster, which is asked by CertificateSigningRequests.
 *
 * Decides what the object asks for, and approves it where the settings say so: all that is in it has been confirmed before.
 * The API hands out no CA, so what pods trust is a file.
 */
import type { Client } from '../../kubernetes/client.ts'
import { path } from '../../kubernetes/path.ts'
import type { Right } from '../../kubernetes/rights.ts'
import { publicKeyAlgorithm } from '../../x509/public-key.ts'
import { descriptionOf, openAnchorFile } from '../anchor-file.ts'
import { asksForSame, contentOf, encodeRequest, equalUsages, leafUsages } from '../asked-content.ts'
import type { Authority, LeafRequest } from '../authority.ts'
import { refuseForeignNames, secondsToAsk } from '../limits.ts'
import { type AuthorityOptions, clusterOf } from '../options.ts'
import { createRequestDesk, type WantedRequest } from '../request-objects.ts'
import { issuedCertificate, readAnswer } from '../signed-answer.ts'
import { type CertificateSigningRequest, changesOf, progressOf } from './signing-request.ts'

export interface KubernetesCsrSettings {
  kind: 'kubernetes-csr'
  certificateFile: string
  signerName: string
  approve: boolean
}

const collection = '/apis/certificates.k8s.io/v1/certificatesigningrequests'

/** Throws AuthorityError. */
export async function openKubernetesCsrAuthority(
  settings: KubernetesCsrSettings,
  options: AuthorityOptions
): Promise<Authority> {
  const { client } = clusterOf(options)
  const anchor = await openAnchorFile(settings.kind, settings, options)
  const desk = createRequestDesk<CertificateSigningRequest>(
    {
      collection,
      progress: progressOf,
      changes: changesOf,
      approve: settings.approve ? object => approve(client, object) : undefined
    },
    options
  )

  return {
    namesFrom: 'request',
    async issue(request) {
      const { chain } = anchor
      refuseForeignNames(chain, request.names)
      const seconds = secondsToAsk(chain, request.lifetimeSeconds, options.clock())
      const { certificate } = await desk.ask(wanted(settings.signerName, request, seconds))
      return issuedCertificate(readAnswer(certificate)[0], anchor.chain)
    },
    describe: () => descriptionOf(settings.kind, anchor.chain),
    async close() {
      await desk.close()
      await anchor.close()
    }
  }
}

function wanted(
  signerName: string,
  { csr, publicKey, lifetimeSeconds, rayCluster }: LeafRequest,
  expirationSeconds: number
): WantedRequest<CertificateSigningRequest> {
  const usages = leafUsages(publicKeyAlgorithm(publicKey))
  return {
    identity: [signerName, contentOf(csr)],
    rayCluster,
    object: {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      spec: { request: encodeRequest(csr), signerName, expirationSeconds, usages }
    },
    isSame: ({ spec }) =>
      spec.signerName === signerName &&
      asksForSame(spec.request, csr) &&
      equalUsages(spec.usages, usages) &&
      // An earlier one of ours may ask for a little more than now, where the CA's end cuts the lifetime.
      (spec.expirationSeconds ?? Number.POSITIVE_INFINITY) <= lifetimeSeconds
  }
}

/** `replace` names the version that was looked at: what is approved is what was compared. */
async function approve(client: Client, object: CertificateSigningRequest): Promise<void> {
  const { name = '' } = object.metadata
  const condition = {
    type: 'Approved',
    status: 'True',
    reason: 'ConfirmedByRayguard',
    message: 'The names are those of the asking pod, as the Kubernetes API has confirmed.'
  }
  const conditions = [...(object.status?.conditions ?? []), condition]
  await client.replace(`${collection}${path`/${name}/approval`}`, {
    ...object,
    status: { ...object.status, conditions }
  })
}

/** What Rayguard's service account needs beside its other rights. */
export function kubernetesCsrRights(settings: KubernetesCsrSettings): Right[] {
  const requests = { group: 'certificates.k8s.io', resource: 'certificatesigningrequests' }
  return [
    ...['create', 'get', 'list', 'watch', 'delete'].map(verb => ({ verb, ...requests })),
    ...(settings.approve
      ? [
          { verb: 'update', ...requests, subresource: 'approval' },
          {
            ...{ verb: 'approve', group: requests.group },
            ...{ resource: 'signers', name: settings.signerName }
          }
        ]
      : [])
  ]
}
