/** manifests/rayguard.yaml as objects, with an image that the test knows. */
import { readFile } from 'node:fs/promises'
import { parseAllDocuments } from 'yaml'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'

const placeholder = 'registry.example/rayguard:0.1.0'

export async function readManifest(image = placeholder): Promise<KubernetesObject[]> {
  const text = await readFile('manifests/rayguard.yaml', 'utf8')
  return parseAllDocuments(text.replaceAll(placeholder, image)).map(document => document.toJS())
}

/** As `kubectl apply -f -` takes them. */
export function toInput(objects: KubernetesObject[]): string {
  return objects.map(object => JSON.stringify(object)).join('\n')
}
