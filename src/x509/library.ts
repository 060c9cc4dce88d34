/**
 * The one door to @peculiar/x509: what makes CA certificates, and in the tests judges ours.
 *
 * Slow (milliseconds a certificate) and large, so nothing that serves requests imports it. The library keeps its crypto
 * provider in a global of its own, which is set here once: the named exception from "no work at import".
 */
import 'reflect-metadata'
import { createRequire } from 'node:module'
import * as x509 from '@peculiar/x509'

// By require(): loaders that take the package's ESM entry for CommonJS do not find the class in it.
const { Crypto: PeculiarCrypto } = createRequire(import.meta.url)(
  '@peculiar/webcrypto'
) as typeof import('@peculiar/webcrypto')

export const webCrypto: Crypto = new PeculiarCrypto()

x509.cryptoProvider.set(webCrypto)

export { x509 }
