/** CAs that are elsewhere: a key in SoftHSM, a role of a real Vault over TLS; and one in files beside them. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AuthoritySettings } from '../src/authority/open.ts'
import type { VaultAuthoritySettings } from '../src/authority/vault/vault-authority.ts'
import { keyIntoHsm } from '../src/demo/soft-hsm.ts'
import { setUpPki } from '../test/support/vault-pki.ts'
import { startVault } from '../test/support/vault-server.ts'
import { openWorkshop } from '../test/x509/openssl.ts'
import { createCa, type KeyKind, type ServingPair } from './certificates.ts'
import { startProcess } from './processes.ts'

export interface BackEnd {
  settings: AuthoritySettings
  /** Where the cluster itself has to have somebody who signs. */
  signer?: ServingPair & { delayMs: number }
  /** For the process that opens it. */
  environment: Record<string, string>
  close(): Promise<void>
}

export async function openFiles(kind: KeyKind): Promise<BackEnd> {
  const { directory, close } = await caInFolder(kind)
  return {
    settings: {
      kind: 'pem',
      certificateFile: join(directory, 'ca.crt'),
      privateKeyFile: join(directory, 'ca.key')
    },
    environment: {},
    close
  }
}

/** With so many sessions. */
export async function openSoftHsm(kind: KeyKind, sessions: number): Promise<BackEnd> {
  const { directory, close } = await caInFolder(kind)
  const { PATH = '' } = process.env
  const { authority, environment } = await keyIntoHsm(directory, directory, PATH)
  return { settings: { ...authority, sessions } as AuthoritySettings, environment, close }
}

/** A signer of the cluster, which has signed so long after the approval. */
export async function openClusterSigner(delayMs: number): Promise<BackEnd> {
  const { directory, close } = await caInFolder('P-256')
  const [certificateFile, keyFile] = [join(directory, 'ca.crt'), join(directory, 'ca.key')]
  return {
    settings: {
      kind: 'kubernetes-csr',
      certificateFile,
      signerName: 'bench.example.com/ray-pods',
      approve: true
    },
    signer: {
      certificate: await readFile(certificateFile, 'utf8'),
      privateKey: await readFile(keyFile, 'utf8'),
      delayMs
    },
    environment: {},
    close
  }
}

export interface VaultBackEnd extends BackEnd {
  /** Of the root user, for a plain client. */
  token: string
  /** PEM. */
  ca: string
  /** The same Vault behind a server that lets each request wait. */
  delayed(delayMs: number): Promise<BackEnd>
}

export async function openVault(): Promise<VaultBackEnd> {
  const undo: (() => void)[] = []
  const workshop = openWorkshop({ teardown: done => undo.push(done) })
  const vault = await startVault(workshop)
  await setUpPki(vault)
  await vault.write('sys/mounts/transit', { type: 'transit' })
  await vault.write('transit/keys/rayguard', { type: 'aes256-gcm96', derived: true })
  const settings: VaultAuthoritySettings = {
    kind: 'vault',
    address: vault.address,
    caFile: vault.caFile,
    mount: 'pki',
    role: 'ray-pods',
    mode: 'sign',
    transit: { mount: 'transit', key: 'rayguard' },
    login: { kind: 'tokenFile', tokenFile: workshop.write('token', vault.token) }
  }
  return {
    settings,
    environment: {},
    token: vault.token,
    ca: workshop.read('vault-ca.crt'),
    async delayed(delayMs) {
      const proxy = startProcess('delaying-proxy')
      const port = await proxy.call<number>('listen', {
        certificate: workshop.read('vault.crt'),
        privateKey: workshop.read('vault.key'),
        ca: workshop.read('vault-ca.crt'),
        to: vault.address,
        delayMs
      })
      const address = `https://127.0.0.1:${port}`
      return { settings: { ...settings, address }, environment: {}, close: proxy.close }
    },
    async close() {
      await vault.close()
      for (const done of undo) done()
    }
  }
}

async function caInFolder(kind: KeyKind): Promise<{ directory: string; close(): Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), 'rayguard-bench-'))
  const ca = await createCa('bench pods', kind, 1)
  await writeFile(join(directory, 'ca.crt'), ca.certificate)
  await writeFile(join(directory, 'ca.key'), ca.privateKey, { mode: 0o600 })
  return { directory, close: () => rm(directory, { recursive: true, force: true }) }
}
