/** KubeRay's own samples, out of the operator's module, as they are published. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseAllDocuments } from 'yaml'
import type { KubernetesObject } from '../../src/kubernetes/objects.ts'

const kinds = ['RayCluster', 'RayJob', 'RayService', 'ConfigMap', 'Secret']

/** The Ray objects of a sample, and what their pods need to exist; no Redis, no ingress. */
export async function sample(name: string): Promise<KubernetesObject[]> {
  const text = await readFile(join(process.env.RAYGUARD_TEST_SAMPLES ?? '', `${name}.yaml`), 'utf8')
  // as kubectl reads it: 0777 is octal
  return parseAllDocuments(text, { version: '1.1' })
    .map(document => document.toJS())
    .filter(object => kinds.includes(object?.kind))
}
