/** A signer of a cluster, as companies run them: whatever a request says, it signs. */
import { randomBytes } from 'node:crypto'
import { webCrypto, x509 } from '../src/x509/library.ts'
import { dayMs } from './certificates.ts'

/** RFC 5280 §4.2.1.6. */
const subjectAltName = '2.5.29.17'
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

/** PEM of a P-256 CA and its key; of a request and of the certificate that comes of it. */
export async function openSigner(
  certificate: string,
  privateKey: string
): Promise<(csr: string) => Promise<string>> {
  const ca = new x509.X509Certificate(certificate)
  const key = await webCrypto.subtle.importKey(
    'pkcs8',
    x509.PemConverter.decodeFirst(privateKey),
    algorithm,
    false,
    ['sign']
  )
  return async csr => {
    const request = new x509.Pkcs10CertificateRequest(csr)
    const names = request.getExtension(subjectAltName)
    const now = Date.now()
    const issued = await x509.X509CertificateGenerator.create({
      serialNumber: randomBytes(16).toString('hex').replace(/^./, '1'),
      subject: request.subjectName,
      issuer: ca.subjectName,
      notBefore: new Date(now),
      notAfter: new Date(now + dayMs),
      publicKey: request.publicKey,
      signingKey: key,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([
          x509.ExtendedKeyUsage.serverAuth,
          x509.ExtendedKeyUsage.clientAuth
        ]),
        ...(names ? [names] : [])
      ]
    })
    return issued.toString('pem')
  }
}
