import { makeKeyPairSync } from '../src/x509/new-key.ts'
import { type Ca, createServingPair, headNames, type ServingPair } from './certificates.ts'
import { startProcess } from './processes.ts'

export interface Issuing {
  url: string
  pid: number
  close(): Promise<void>
}

/** `bare`: one signature and nothing else. See bench/processes/issuing-server.ts. */
export async function startIssuing(
  ca: Ca,
  options: { bare: boolean; serving?: ServingPair }
): Promise<Issuing> {
  const { publicKey } = makeKeyPairSync()
  const example = await ca.issuer.issue({
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    csr: new Uint8Array(),
    names: headNames,
    lifetimeSeconds: 24 * 3600
  })
  const server = startProcess('issuing-server')
  const port = await server.call<number>('listen', {
    serving: options.serving ?? (await createServingPair(ca)),
    ca: { certificate: ca.certificate, privateKey: ca.privateKey },
    answer: JSON.stringify(example),
    bare: options.bare
  })
  return { url: `https://127.0.0.1:${port}/`, pid: server.pid, close: server.close }
}
