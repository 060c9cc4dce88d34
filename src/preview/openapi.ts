/**
 * `GET /openapi.json`: what can be asked of Rayguard, as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1).
 *
 * Made from the schemas that the types of the code come from. Its examples are tried against a running server by a test.
 */
import { otherPaths, otherSchemas } from './openapi-others.ts'
import { contentTypes } from './route.ts'
import {
  dryRunAnswer,
  dryRunError,
  dryRunErrors,
  dryRunPath,
  dryRunQuery,
  dryRunResult
} from './schemas.ts'

export function describeApi({ version }: { version: string }) {
  return {
    openapi: '3.1.1',
    info: {
      title: 'Rayguard',
      version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      description:
        'Dry runs are answered by the preview listener, which serves this description. The other paths are those of the webhook and of the enrollment server, on listeners of their own.'
    },
    paths: { [dryRunPath]: { post: dryRunOperation() }, ...otherPaths },
    components: {
      securitySchemes: {
        podToken: { type: 'http', scheme: 'bearer', description: 'A token bound to the pod.' }
      },
      schemas: {
        DryRunAnswer: dryRunAnswer,
        DryRunResult: dryRunResult,
        DryRunError: dryRunError,
        ...otherSchemas
      }
    }
  }
}

const text = { schema: { type: 'string' } }
const errorContent = {
  'application/json': { schema: { $ref: '#/components/schemas/DryRunError' } }
}

function dryRunOperation() {
  return {
    operationId: 'dryRun',
    summary: 'What the webhook would do to pods and Ray resources',
    description:
      'Nothing is changed, nothing is signed and the cluster is not asked. The body holds any number of documents in JSON or YAML, whatever the content type says: Pods, Ray resources, Lists of these, AdmissionReviews.',
    parameters: Object.entries<object>(dryRunQuery.properties).map(([name, schema]) => ({
      name,
      in: 'query',
      schema
    })),
    requestBody: {
      required: true,
      content: Object.fromEntries(
        contentTypes.map(type => [type, { ...text, examples: examplesOf(type) }])
      )
    },
    responses: {
      200: {
        description: 'One result for each pod, also for those that are refused.',
        content: {
          'application/json': { schema: { $ref: '#/components/schemas/DryRunAnswer' } },
          'application/x-ndjson': text,
          'application/yaml': text,
          'text/plain': text
        }
      },
      ...Object.fromEntries(
        [...new Set(Object.values(dryRunErrors))].map(status => [
          status,
          { description: `${codesOf(status)}.`, ...retry(status), content: errorContent }
        ])
      )
    }
  }
}

function codesOf(status: number): string {
  return Object.entries(dryRunErrors)
    .filter(([, of]) => of === status)
    .map(([code]) => code)
    .join(', ')
}

function retry(status: number) {
  if (status !== 503) return {}
  const schema = { type: 'integer' }
  return { headers: { 'Retry-After': { description: 'Seconds.', schema } } }
}

function examplesOf(type: string) {
  if (type === 'application/json') return { pod: { value: JSON.stringify(pod) } }
  return type === 'application/yaml' ? yamlExamples : {}
}

const pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'demo-worker',
    namespace: 'team',
    labels: {
      'ray.io/cluster': 'demo',
      'ray.io/node-type': 'worker',
      'ray.io/group': 'small',
      'ray.io/is-ray-node': 'yes'
    }
  },
  spec: { containers: [{ name: 'ray-worker', image: 'rayproject/ray:2.52.0' }] }
}

const yamlExamples = {
  rayCluster: {
    value: `apiVersion: ray.io/v1
kind: RayCluster
metadata: { name: demo, namespace: team }
spec:
  headGroupSpec:
    template: { spec: { containers: [{ name: ray-head, image: "rayproject/ray:2.52.0" }] } }
  workerGroupSpecs:
    - groupName: small
      template: { spec: { containers: [{ name: ray-worker, image: "rayproject/ray:2.52.0" }] } }
`
  },
  keyTwice: {
    summary: 'Refused with 400, DuplicateKey and the place of the second key',
    value: 'apiVersion: v1\nkind: Pod\nkind: Pod\n'
  },
  anotherKind: {
    summary: 'Refused with 422, Unsupported',
    value: 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: other }\n'
  }
}
