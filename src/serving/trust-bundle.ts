/** Judges the CA that is put into every pod: what is wrong with it would stop them all. */
import { basicConstraintsOf } from '../x509/certificate.ts'
import { DerError } from '../x509/der.ts'
import { encodePem } from '../x509/pem.ts'
import { certificatesIn, PartError } from './parts.ts'

export type TrustBundleReading = { bundle: string; ends: Date } | { problem: string }

/** It stands in the environment of each pod, and in etcd once a pod. */
const maximumBytes = 8_192

/** PEM without anything around it, and when the last of its CAs ends; or what is wrong. Never throws on the text. */
export function readTrustBundle(text: string, now: number): TrustBundleReading {
  if (text.length > maximumBytes) {
    return { problem: `expected at most ${maximumBytes} bytes, found ${text.length}` }
  }
  try {
    const certificates = certificatesIn(text)
    if (certificates.length === 0) return { problem: 'expected PEM certificates, found none' }
    if (!certificates.every(certificate => basicConstraintsOf(certificate).isAuthority)) {
      return { problem: 'expected PEM certificates of CAs, found one that is none' }
    }
    const current = certificates.filter(({ notAfter }) => notAfter.getTime() > now)
    const ends = new Date(Math.max(...certificates.map(({ notAfter }) => notAfter.getTime())))
    if (current.length === 0) {
      return { problem: `expected a CA within its time, found the end at ${ends.toISOString()}` }
    }
    return { bundle: current.map(({ der }) => encodePem('CERTIFICATE', der)).join(''), ends }
  } catch (error) {
    if (error instanceof PartError || error instanceof DerError) return { problem: error.message }
    throw error
  }
}
