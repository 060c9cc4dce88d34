import type { InjectionSettings } from '../src/injection/settings.ts'

/** What the bench's server and its pods agree on. */
export const image = `registry.example.com/rayguard/rayguard@sha256:${'0'.repeat(64)}`

export function injectionSettings(
  server = { url: 'https://127.0.0.1:8444', ca: fakeCa }
): InjectionSettings {
  return {
    image,
    formerImages: [],
    imagePullPolicy: 'IfNotPresent',
    imagePullSecrets: [],
    serverUrl: server.url,
    serverCa: server.ca,
    keyAlgorithm: 'P-256',
    keyGroup: 65532,
    resources: { cpu: '500m', memory: '128Mi' },
    user: 65532
  }
}

/** As long as a real one; the injection does not read it. */
const fakeCa = `-----BEGIN CERTIFICATE-----\n${`${'A'.repeat(64)}\n`.repeat(9)}-----END CERTIFICATE-----\n`
