/** Every certificate that Rayguard has comes to its end some day: pods are created and enroll as if nothing happened. */
import type { Pod, Secret } from '../../src/kubernetes/objects.ts'
import { type ClusterApi, eventually, retried } from '../support/cluster.ts'
import { makeCa } from '../support/cluster-certificates.ts'
import { checkCreations, startCreations } from '../support/cluster-creations.ts'
import { heldBy, makeIdleCluster, makeIdleWorker } from '../support/cluster-idle.ts'
import { forSmallNode, install, remove, withSettings } from '../support/cluster-install.ts'
import { kubectl, run } from '../support/cluster-kubectl.ts'
import { openReader } from '../support/cluster-page.ts'
import { part } from '../support/cluster-part.ts'
import { components, nameOf, systemNamespace, twoOfEach } from '../support/cluster-replicas.ts'
import {
  deleteSecret,
  makeLeafDue,
  makeSuccessorDue,
  secretData,
  shownByAll,
  signedByNone
} from '../support/cluster-serving.ts'

/** The sandbox of a pod can be killed on an own node; on somebody else's not. */
const ownCluster = process.env.USE_EXISTING_CLUSTER !== 'true'
const registration = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/rayguard'

part('rotation', async (t, { api, namespace: makeNamespace }) => {
  await remove()
  // what signs pods is looked at here; with a CA for each RayCluster a running one keeps its own
  await install(t, t.testdir(), yaml => withSettings(forSmallNode(yaml), { trust: 'shared' }))
  await twoOfEach(api)
  const namespace = await makeNamespace('long-lived', {
    'pod-security.kubernetes.io/enforce': 'restricted'
  })
  const cluster = await makeIdleCluster(api, namespace)
  const creations = startCreations(api, namespace, { connections: 2 })
  t.teardown(creations.stop)

  const enroll = async () => {
    const pod = await retried(() => makeIdleWorker(api, cluster))
    return { pod, name: nameOf(pod), ...(await heldBy(api, namespace, nameOf(pod))) }
  }
  const enrollAgain = async (name: string, serialNumber: string) => {
    const { code, stderr } = await run('test/cluster/cluster', ['crash', namespace, name])
    t.equal(code, 0, `the sandbox of a pod ends ${stderr}`)
    return heldBy(api, namespace, name, held => held.serialNumber !== serialNumber)
  }
  const first = await enroll()
  // the kubelet brings it into the mount when it next looks at the pod, a minute later: the other certificates meanwhile
  const reader = openReader(t)
  const page = 'ca-rotation.md'
  await t.test('the commands of docs/ca-rotation.md', async t => {
    await reader.follow({ page, heading: 'The next CA' })
    await reader.follow({ page, heading: '1. Let pods trust both' })
    t.equal((await alsoTrusted(api))?.match(/BEGIN CERTIFICATE/g)?.length, 2, 'both CAs are there')
    await reader.follow({ page, heading: '2. Let the next one sign' })
  })

  await t.test('the server certificate of each listener', async t => {
    for (const component of components) {
      await creations.phase(`the certificate of the ${component} server`)
      const former = await shownByAll(api, component)
      const { 'ca.crt': ca } = (await secretData(api, component)) ?? {}
      await makeLeafDue(api, component)
      await shownByAll(api, component, former)
      const after = await secretData(api, component)
      t.equal(after?.['ca.crt'], ca, `${component}: a new certificate by the same CA`)
    }
  })

  await t.test('the CA of each listener', async t => {
    for (const component of components) {
      await creations.phase(`the CA of the ${component} server`)
      const former = await shownByAll(api, component)
      const { 'ca.crt': ca = '' } = (await secretData(api, component)) ?? {}
      await makeSuccessorDue(api, component)
      const after = await eventually('the successor signs', async () => {
        const data = await secretData(api, component)
        return data?.['ca.crt'] !== ca && data
      })
      t.equal(after['former-ca.crt'], ca, `${component}: the former one stays announced`)
      await shownByAll(api, component, former)
    }
    const second = await enroll()
    t.not(caOf(second.pod), caOf(first.pod), 'a new pod is told of the new CA')
    if (ownCluster) {
      await enrollAgain(first.name, first.serialNumber)
      t.pass('and a pod that knows the former one alone enrolls again')
    }
  })

  await t.test('a serving Secret that is deleted', async t => {
    await creations.phase('both serving Secrets deleted')
    for (const component of components) {
      const data = await secretData(api, component)
      await deleteSecret(api, component)
      const again = await eventually('it is back', () => secretData(api, component))
      t.strictSame(again, data, `${component}: it comes back as it was`)
    }
    await enroll()
  })

  await t.test('a caBundle that somebody has edited', async () => {
    await creations.phase('the caBundle edited')
    const { webhooks } = await api.get<Registration>(registration)
    const caBundle = webhooks[0]?.clientConfig.caBundle
    const edited = webhooks.map(entry => ({
      ...entry,
      clientConfig: { ...entry.clientConfig, caBundle: foreignCaBundle(t.testdirName) }
    }))
    await api.patch(registration, { webhooks: edited })
    await eventually('it is put right', async () => {
      const { webhooks } = await api.get<Registration>(registration)
      return webhooks.every(entry => entry.clientConfig.caBundle === caBundle)
    })
    await creations.reached(10)
  })

  await t.test('the CA that signs pods', async t => {
    await creations.phase('the CA of the pods')
    await signedByNone(api, first.anchorSha256)
    const { name, anchorSha256 } = await enroll()
    t.not(anchorSha256, first.anchorSha256, 'a new pod is signed by the new CA')
    await kubectl(['-n', namespace, 'delete', 'pod', name, '--wait=false'])
    if (ownCluster) {
      const { serialNumber } = await heldBy(api, namespace, first.name)
      const again = await enrollAgain(first.name, serialNumber)
      t.not(again.anchorSha256, first.anchorSha256, 'and so is an old one in a new sandbox')
    }
    const told = await run('node', ['dist/rayguard.js', 'ca', 'status', '-o', 'json'])
    t.match(JSON.parse(told.stdout).next, { step: 'finish' }, 'the last step is the next one')
    await reader.follow({ page, heading: '3. Forget the former one' })
    t.equal(await alsoTrusted(api), undefined, 'nothing is left to trust beside it')
  })

  await checkCreations(t, creations, { mayFail: ['the caBundle edited'] })
  await remove()
})

/** Of the Secret with the CA: what pods are told to trust beside it. */
async function alsoTrusted(api: ClusterApi): Promise<string | undefined> {
  const { data } = await api.get<Secret>(
    `/api/v1/namespaces/${systemNamespace}/secrets/rayguard-ca`
  )
  const value = data?.['also-trusted.crt']
  return value === undefined ? undefined : Buffer.from(value, 'base64').toString()
}

interface Registration {
  metadata: object
  webhooks: { clientConfig: { caBundle?: string } }[]
}

function foreignCaBundle(folder: string): string {
  return Buffer.from(makeCa(folder, 'foreign').certificate).toString('base64')
}

function caOf({ spec }: Pod): string | null | undefined {
  return spec.initContainers?.[0]?.env?.find(({ name }) => name === 'RAYGUARD_SERVER_CA')?.value
}
