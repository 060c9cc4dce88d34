/** The settings of each kind of authority: one of them, told apart by `kind`. */
import { Type } from 'typebox'
import { choice, path, section, text, variant, variants } from './schema-pieces.ts'

const certificateFile = path(
  'PEM: the CA that signs pods, first; then the CAs above it. Only the first is trusted by pods.'
)

const loginToken =
  'The file with the token: with `kubernetes` one of our own pod for an audience of Vault’s own, with `tokenFile` one of Vault.'

const sealingKey = {
  keyLabel: Type.Optional(
    text('label', 'Label of the secret key. This, `keyId`, or both are needed.')
  ),
  keyId: Type.Optional(text('hexadecimal', 'Identifier (CKA_ID) of the secret key.'))
}

export const authoritySchema = variants(
  'Who signs. The enrollment component needs it; the webhook never opens it.',
  [
    variant('pem', 'certificate and private key are files.', {
      certificateFile,
      privateKeyFile: path('PEM: the private key of the first certificate.'),
      passphraseFile: Type.Optional(path('A file with the passphrase of the private key.'))
    }),
    variant('pkcs11', 'the private key is in an HSM or another token.', {
      certificateFile,
      libraryFile: path('The PKCS#11 library of the HSM, a shared object.'),
      tokenLabel: Type.Optional(
        text('label', 'Label of the token. Either this or `slot` is needed.')
      ),
      slot: Type.Optional(
        Type.Integer({
          minimum: 0,
          maximum: 4_294_967_295,
          description:
            'Number of the slot that the token is in, where its label does not tell it apart.'
        })
      ),
      keyLabel: Type.Optional(
        text('label', 'Label of the private key. This, `keyId`, or both are needed.')
      ),
      keyId: Type.Optional(text('hexadecimal', 'Identifier (CKA_ID) of the private key.')),
      sealing: Type.Optional(
        choice(
          'A secret key in the same token for HMAC with SHA-256 (`CKM_SHA256_HMAC`), which seals the keys of RayClusters’ CAs that are kept in Secrets.',
          {
            ...sealingKey,
            former: Type.Optional(
              choice(
                'The key that sealed before: what it has sealed still opens, and is sealed anew within minutes.',
                sealingKey
              )
            )
          }
        )
      ),
      pinFile: path(
        'A file with the user’s PIN. Read again at each login; a PIN that was wrong is never tried twice.'
      ),
      sessions: Type.Integer({
        minimum: 1,
        maximum: 64,
        default: 3,
        description: 'Sessions with the HSM, which is how many signatures it makes at one time.'
      })
    }),
    variant('kubernetes-csr', 'a signer of the cluster, asked by CertificateSigningRequests.', {
      certificateFile,
      signerName: text(
        'signer-name',
        'The signer (`spec.signerName`). Whoever may approve for it can join every Ray cluster that trusts the CA itself.'
      ),
      intermediateSignerName: Type.Optional(
        text(
          'signer-name',
          'Another signer, below the same CA, which signs a CA for each RayCluster. `trust: perCluster` needs it.'
        )
      ),
      approve: Type.Boolean({
        default: false,
        description:
          'Rayguard approves its own requests, which hold nothing that it has not confirmed. Without it somebody else has to, and pods wait.'
      })
    }),
    variant('cert-manager', 'an issuer of cert-manager, asked by CertificateRequests.', {
      issuer: section(
        'The issuer, in Rayguard’s own namespace. Without `certificateFile` its CA is taken from its answers, and one certificate is asked for at each start to learn it.',
        {
          name: text('object-name', 'Its name.'),
          kind: text('kind', 'Its kind.', { default: 'Issuer' }),
          group: text('dns-name', 'Its API group.', { default: 'cert-manager.io' })
        }
      ),
      issuerOpenToAllNamespaces: Type.Boolean({
        default: false,
        description:
          'Needed for a ClusterIssuer: it signs for every namespace, so a tenant may ask it for a certificate that joins any Ray cluster.'
      }),
      certificateFile: Type.Optional(certificateFile)
    }),
    variant('vault', 'a role of the PKI secrets engine of HashiCorp Vault or OpenBao signs.', {
      address: text('https-url', 'Where Vault is, or the load balancer before it.'),
      caFile: path('PEM: the CA of Vault’s server certificate; nothing else is trusted.'),
      namespace: Type.Optional(
        text('vault-path', 'The namespace in Vault of all that is named here.')
      ),
      mount: text('vault-path', 'Where the PKI secrets engine is.', { default: 'pki' }),
      role: text('vault-name', 'The role that signs.'),
      issuerRef: Type.Optional(
        text('vault-name', 'Name or id of the issuer. Without it the default one of the mount.')
      ),
      mode: Type.Enum(['sign', 'sign-verbatim'], {
        default: 'sign',
        description:
          '`sign`: Rayguard gives the names, and the policy of its token leads to that role alone. `sign-verbatim`: the pod’s own request has them; a token that may do this gets any certificate signed.'
      }),
      login: variants('How Rayguard logs in.', [
        variant('kubernetes', 'with a token of its own pod.', {
          mount: text('vault-path', 'Where the auth method is.', { default: 'kubernetes' }),
          role: text('vault-name', 'The role of the auth method.', { default: 'rayguard' }),
          tokenFile: path(loginToken, { default: '/etc/rayguard/vault/token' })
        }),
        variant('appRole', 'with a role id and a secret id.', {
          mount: text('vault-path', 'Where the auth method is.', { default: 'approle' }),
          roleIdFile: path('A file with the role id.'),
          secretIdFile: path('A file with the secret id.')
        }),
        variant('tokenFile', 'with a token that is kept by others, such as Vault Agent.', {
          tokenFile: path(loginToken)
        })
      ]),
      transit: Type.Optional(
        choice('A key of the transit secrets engine that encrypts what is kept in Secrets.', {
          mount: text('vault-path', 'Where the transit secrets engine is.', {
            default: 'transit'
          }),
          key: text('vault-name', 'The name of the key.')
        })
      )
    })
  ]
)
