/** The TLS that every HTTPS listener speaks. */
import { constants } from 'node:crypto'
import type { SecureContextOptions } from 'node:tls'

/** PEM. */
export interface ServingPair {
  certificate: string
  privateKey: string
}

/**
 * The whole secure context. A reload has to repeat every option: what `setSecureContext` is not told falls back to Node's
 * defaults.
 */
export function secureContext(
  { certificate, privateKey }: ServingPair,
  /** PEM; signs those who may connect, where the listener asks for client certificates. */
  clientCa?: string
): SecureContextOptions {
  return {
    cert: certificate,
    key: privateKey,
    ...(clientCa === undefined ? {} : { ca: clientCa }),
    minVersion: 'TLSv1.2',
    // RFC 9325 §4.2: forward secrecy and AEAD alone.
    ciphers: [
      'TLS_AES_128_GCM_SHA256',
      'TLS_AES_256_GCM_SHA384',
      'TLS_CHACHA20_POLY1305_SHA256',
      'ECDHE-ECDSA-AES128-GCM-SHA256',
      'ECDHE-RSA-AES128-GCM-SHA256',
      'ECDHE-ECDSA-AES256-GCM-SHA384',
      'ECDHE-RSA-AES256-GCM-SHA384',
      'ECDHE-ECDSA-CHACHA20-POLY1305',
      'ECDHE-RSA-CHACHA20-POLY1305'
    ].join(':'),
    honorCipherOrder: true,
    // Attack: a client that has the server make one costly handshake after the other within a connection.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION
  }
}
