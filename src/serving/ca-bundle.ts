/**
 * Keeps `clientConfig.caBundle` in each entry of Rayguard's webhook configurations, by server-side apply.
 *
 * Owns that one field. Never makes a configuration: the body carries the UID of the one that was read, so that an apply
 * cannot bring back what somebody has just deleted.
 */
import type { Client } from '../kubernetes/client.ts'
import { KubernetesError } from '../kubernetes/error.ts'
import type { WebhookConfiguration } from '../kubernetes/objects.ts'
import { path } from '../kubernetes/path.ts'
import { encodePem } from '../x509/pem.ts'
import type { Announcer } from './keeper.ts'
import { certificatesIn, PartError } from './parts.ts'

const registrationName = 'rayguard'
const fieldManager = 'rayguard'

const kinds = {
  MutatingWebhookConfiguration: 'mutatingwebhookconfigurations',
  ValidatingWebhookConfiguration: 'validatingwebhookconfigurations'
} as const
type Kind = keyof typeof kinds

export interface CaBundle extends Announcer {
  /** Entries of the configurations that there are, and those of them with the right caBundle. */
  entries(): { all: number; announced: number }
}

export interface CaBundleOptions {
  client: Client
  /** A caBundle that was edited or empty has been put right. */
  onAnnounced(kind: string, entries: readonly string[]): void
}

export function createCaBundle({ client, onAnnounced }: CaBundleOptions): CaBundle {
  const seen = new Map<Kind, WebhookConfiguration | undefined>()
  let wanted = ''

  return {
    async ensure(bundle) {
      wanted = Buffer.from(bundle).toString('base64')
      let fault: unknown
      for (const kind of Object.keys(kinds) as Kind[]) {
        // What is wrong with one must not keep the other from its caBundle.
        await ensureIn(kind).catch(error => {
          fault ??= error
        })
      }
      if (fault !== undefined) throw fault
    },
    trusts(anchor) {
      if (seen.size === 0) return undefined
      return entriesSeen().every(({ clientConfig }) => holds(clientConfig?.caBundle, anchor))
    },
    entries() {
      const all = entriesSeen()
      const announced = all.filter(({ clientConfig }) => clientConfig?.caBundle === wanted)
      return { all: all.length, announced: announced.length }
    }
  }

  function entriesSeen() {
    return [...seen.values()].flatMap(configuration => configuration?.webhooks ?? [])
  }

  async function ensureIn(kind: Kind): Promise<void> {
    const place = path`/apis/admissionregistration.k8s.io/v1/${kinds[kind]}/${registrationName}`
    const found = await client.get<WebhookConfiguration>(place)
    seen.set(kind, found)
    const wrong = (found?.webhooks ?? []).filter(entry => entry.clientConfig?.caBundle !== wanted)
    if (found === undefined || wrong.length === 0) return
    const body = {
      apiVersion: 'admissionregistration.k8s.io/v1',
      kind,
      metadata: { name: registrationName, uid: found.metadata.uid },
      // All of them: an entry that is left out would lose the field again.
      webhooks: (found.webhooks ?? []).map(({ name }) => ({
        name,
        clientConfig: { caBundle: wanted }
      }))
    }
    try {
      seen.set(kind, await client.apply<WebhookConfiguration>(place, body, fieldManager))
    } catch (error) {
      // Deleted, or made anew, in between: the next look sees it.
      if (error instanceof KubernetesError && isRace(error)) return
      throw error
    }
    onAnnounced(
      kind,
      wrong.map(({ name }) => name)
    )
  }
}

function isRace({ code }: KubernetesError): boolean {
  return code === 'Conflict' || code === 'NotFound'
}

function holds(caBundle: string | null | undefined, anchor: string): boolean {
  try {
    const text = Buffer.from(caBundle ?? '', 'base64').toString('utf8')
    return certificatesIn(text).some(({ der }) => encodePem('CERTIFICATE', der) === anchor)
  } catch (error) {
    // Somebody else's text. Ours is put in its place.
    if (error instanceof PartError) return false
    throw error
  }
}
