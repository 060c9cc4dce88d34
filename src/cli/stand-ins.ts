/** What a dry run shows where the settings leave open what only a cluster knows. */
import type { InjectionSettings } from '../injection/settings.ts'
import { readKnownImage } from '../pod-security/known-images.ts'
import type { Settings } from '../settings/load.ts'
import { version } from './version.ts'

export const standInCa = '<CA of the enrollment server>'

/** What the manifests install. */
export const standIns: InjectionSettings = {
  image: `rayguard:${version()}`,
  formerImages: [],
  imagePullPolicy: 'IfNotPresent',
  imagePullSecrets: [],
  serverUrl: 'https://rayguard-enrollment.rayguard-system.svc',
  serverCa: standInCa,
  keyAlgorithm: 'P-256',
  keyGroup: 65532,
  resources: { cpu: '500m', memory: '128Mi' },
  user: 65532
}

export interface Known {
  /** Of Rayguard itself. */
  namespace: string
  /** PEM; undefined where nobody knows it here. */
  serverCa: string | undefined
}

/** As the webhook has them that is given the same settings. */
export function shownSettings(
  { injection, enrollment }: Settings,
  { namespace, serverCa = standInCa }: Known
): InjectionSettings {
  const { image = standIns.image, serverUrl, serverCaFile: _, knownImages, ...rest } = injection
  return {
    ...rest,
    image,
    serverUrl: serverUrl ?? `https://rayguard-enrollment.${namespace}.svc`,
    serverCa,
    knownImages: knownImages.map(readKnownImage),
    tokenAudience: enrollment.audience
  }
}
