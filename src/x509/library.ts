/**
 * The one door to @peculiar/x509: what makes CA certificates, and in the tests judges ours.
 *
 * Slow (milliseconds a certificate) and large, so nothing that serves requests imports it. The library keeps its crypto
 * provider in a global of its own, which is set here once: the named exception from "no work at import".
 */
import 'reflect-metadata'
import { createRequire } from 'node:module'
import * as x509 from '@peculiar/x509'

// By require(): some loaders take the package's ESM entry for CommonJS. The first form is for the bundler, which has a
// `require` and follows it; the second is for a module that runs as it is, where there is none.
const { Crypto: PeculiarCrypto } = (
  typeof require === 'function'
    ? require('@peculiar/webcrypto')
    : createRequire(import.meta.url)('@peculiar/webcrypto')
) as typeof import('@peculiar/webcrypto')

export const webCrypto: Crypto = new PeculiarCrypto()

x509.cryptoProvider.set(webCrypto)

export { x509 }
