import type { Client } from '../../kubernetes/client.ts'
import type { ConfigMap } from '../../kubernetes/objects.ts'
import { path } from '../../kubernetes/path.ts'
import { sectionIn } from '../../settings/one-section.ts'
import type { SettingsFile } from '../../settings/schema.ts'

/** As the manifests have them. A replica that has not been restarted since may have others. */
export interface ManifestSettings {
  authority: SettingsFile['authority']
  clientCertificates: boolean
}

/** `undefined` where there are none. Throws {@link KubernetesError}. */
export async function manifestSettings(
  client: Client,
  namespace: string
): Promise<ManifestSettings | undefined> {
  const at = path`/api/v1/namespaces/${namespace}/configmaps/rayguard`
  const text = (await client.get<ConfigMap>(at))?.data?.['config.yaml']
  if (text === undefined) return undefined
  return {
    authority: sectionIn(text, 'authority'),
    clientCertificates: sectionIn(text, 'clientCertificates')?.enabled === true
  }
}
