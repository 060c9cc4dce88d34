import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { startStage } from '../support/enrollment-stage.ts'
import { rayCluster, rayPod, serviceOf } from '../support/ray-objects.ts'

t.test('a worker gets a certificate for its address and loopback alone', async t => {
  const stage = await startStage()
  t.teardown(stage.close)
  stage.standIn.put(rayCluster())
  const pod = await stage.run(rayPod({ ips: ['127.0.0.2'] }))
  const { status, body } = await stage.enroll(pod)
  t.equal(status, 201, `it is issued: ${body.code} ${JSON.stringify(stage.observed[0]?.outcome)}`)
  const certificate = new X509Certificate(body.certificate as string)
  t.equal(
    certificate.subjectAltName,
    'DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, IP Address:127.0.0.2',
    'it has these names'
  )
})
