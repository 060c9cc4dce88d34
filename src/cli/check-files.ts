/**
 * Looks at the files that the settings name: readable, well-formed, belonging together, not over.
 *
 * Reports all of it at once; `serve` would end at the first. Opens the authority only to see that it can be.
 */
import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { openAlsoTrusted } from '../authority/also-trusted.ts'
import { type Authority, AuthorityError, type KeyProtection } from '../authority/authority.ts'
import { intermediateProblem } from '../authority/limits.ts'
import { asksCluster, openAuthority } from '../authority/open.ts'
import { readCertificates, usableChain } from '../authority/pem-files.ts'
import { perClusterProblem } from '../authority/per-cluster/own-ca.ts'
import { checkPair, type LoadedPair, readPair, ServingPairError } from '../server/serving-pair.ts'
import type { Settings } from '../settings/load.ts'
import type { Chain } from '../x509/chain.ts'
import { checkedClientCa } from './components/client-ca.ts'
import { ConfigurationError } from './components/component.ts'
import { readServerCaFile } from './components/server-ca.ts'

export interface FileReport {
  /** Each begins with the setting. */
  problems: string[]
  warnings: string[]
  /** What is so, for people. */
  notes: string[]
}

export interface Sources {
  /** Milliseconds since the epoch. */
  clock: () => number
  random: (size: number) => Uint8Array
}

const soonDays = 30

export async function checkFiles(settings: Settings, sources: Sources): Promise<FileReport> {
  const report: FileReport = { problems: [], warnings: [], notes: [] }
  const pair = await checkServing(settings, sources, report)
  if (settings.components.includes('webhook')) {
    await checkClientCa(settings, report)
    const ca = await checkServerCa(settings, sources, report)
    if (ca !== undefined && pair !== undefined && settings.components.includes('enrollment')) {
      checkReach(settings, pair, ca, report)
    }
  }
  if (settings.components.includes('enrollment')) {
    const signing = await checkAuthority(settings, sources, report)
    await checkAlsoTrusted(settings, sources, signing, report)
  }
  return report
}

async function checkServing(
  { serving }: Settings,
  { clock }: Sources,
  report: FileReport
): Promise<LoadedPair | undefined> {
  if (serving.kind !== 'files') return undefined
  try {
    const pair = checkPair(await readPair(serving), serving, clock())
    warnSoon('serving.certificateFile', pair.notAfter, clock(), report)
    return pair
  } catch (error) {
    if (!(error instanceof ServingPairError)) throw error
    report.problems.push(`${error.setting}: ${error.message}`)
    return undefined
  }
}

async function checkClientCa({ listen }: Settings, report: FileReport): Promise<void> {
  if (listen.webhook.clientCaFile === undefined) return
  try {
    await checkedClientCa(listen.webhook.clientCaFile)
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    report.problems.push(error.message)
  }
}

async function checkServerCa(
  { injection }: Settings,
  { clock }: Sources,
  report: FileReport
): Promise<string | undefined> {
  if (injection.serverCaFile === undefined) return undefined
  try {
    return await readServerCaFile(injection.serverCaFile, clock())
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error
    report.problems.push(error.message)
    return undefined
  }
}

/** What would otherwise show in the first pod that enrolls. Warnings: a proxy in between may have a pair of its own. */
function checkReach(settings: Settings, pair: LoadedPair, ca: string, report: FileReport): void {
  const certificate = new X509Certificate(pair.certificate)
  if (settings.injection.serverUrl === undefined) return
  const host = new URL(settings.injection.serverUrl).hostname.replace(/^\[|\]$/g, '')
  const named = isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)
  if (named === undefined) {
    report.warnings.push(
      `injection.serverUrl: the server certificate does not have the name ${host}; it has ${certificate.subjectAltName ?? 'none'}`
    )
  }
  const authorities = pemCertificates(ca)
  const chain = [certificate, ...pemCertificates(pair.certificate).slice(1)]
  const trusted = chain.some(link =>
    authorities.some(
      authority =>
        link.fingerprint256 === authority.fingerprint256 ||
        (link.checkIssued(authority) && link.verify(authority.publicKey))
    )
  )
  if (!trusted) {
    report.warnings.push(
      'injection.serverCaFile: none of these certificates has signed the server certificate, so pods would not trust it'
    )
  }
}

function pemCertificates(text: string): X509Certificate[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  return blocks.flatMap(block => {
    try {
      return [new X509Certificate(block)]
    } catch {
      return []
    }
  })
}

async function checkAuthority(
  settings: Settings,
  { clock, random }: Sources,
  report: FileReport
): Promise<Chain | undefined> {
  if (settings.authority === undefined) return undefined
  if (asksCluster(settings.authority)) {
    // No cluster is asked here; a file is all that there is to look at.
    const chain = await checkAnchor(settings, settings.authority, clock, report)
    if (settings.authority.kind === 'cert-manager' && settings.authority.issuerOpenToAllNamespaces)
      report.warnings.push(
        'authority.issuerOpenToAllNamespaces: whoever may ask this issuer can join every Ray cluster'
      )
    return chain
  }
  let authority: Authority
  try {
    authority = await openAuthority(settings.authority, {
      clock,
      random,
      clusterDomain: settings.kubernetes.clusterDomain,
      signsCas: settings.trust === 'perCluster',
      pollMs: 0,
      lifetimeSeconds: settings.enrollment.lifetimeSeconds,
      onReload(outcome) {
        if (!outcome.loaded) return
        for (const warning of outcome.warnings) report.warnings.push(`authority: ${warning}`)
      }
    })
  } catch (error) {
    if (!(error instanceof AuthorityError)) throw error
    report.problems.push(`authority: ${error.message}`)
    return undefined
  }
  checkTrust(settings, perClusterProblem(authority), authority.protection, report)
  const place = 'certificateFile' in settings.authority ? 'authority.certificateFile' : 'authority'
  warnSoon(place, authority.describe().notAfter, clock(), report)
  await authority.close()
  return authority.chain?.()
}

async function checkAlsoTrusted(
  { enrollment, kubernetes }: Settings,
  { clock }: Sources,
  signing: Chain | undefined,
  report: FileReport
): Promise<void> {
  const file = enrollment.alsoTrustedFile
  if (file === undefined) return
  try {
    const alsoTrusted = await openAlsoTrusted(file, {
      clock,
      clusterDomain: kubernetes.clusterDomain,
      pollMs: 0,
      onReload(outcome) {
        if (!outcome.loaded) return
        for (const warning of outcome.warnings)
          report.warnings.push(`enrollment.alsoTrustedFile: ${warning}`)
      },
      onLeftOut({ subject }, reason) {
        report.warnings.push(
          `enrollment.alsoTrustedFile: pods are not told of "${subject}", because ${reason}`
        )
      }
    })
    if (signing !== undefined) alsoTrusted.beside(signing.trustAnchor, signing)
    await alsoTrusted.close()
  } catch (error) {
    if (!(error instanceof AuthorityError)) throw error
    report.problems.push(`enrollment.alsoTrustedFile: ${error.message}`)
  }
}

async function checkAnchor(
  settings: Settings,
  { certificateFile }: { certificateFile?: string | undefined },
  clock: () => number,
  report: FileReport
): Promise<Chain | undefined> {
  if (certificateFile === undefined) return undefined
  try {
    const chain = usableChain(await readCertificates({ certificateFile }), {
      now: new Date(clock()),
      clusterDomain: settings.kubernetes.clusterDomain,
      signsCas: settings.trust === 'perCluster'
    })
    warnSoon('authority.certificateFile', chain.notAfter, clock(), report)
    report.warnings.push(...chain.warnings.map(warning => `authority: ${warning}`))
    checkTrust(settings, intermediateProblem(chain), undefined, report)
    return chain
  } catch (error) {
    if (!(error instanceof AuthorityError)) throw error
    report.problems.push(`authority: ${error.message}`)
    return undefined
  }
}

/** What the CA can, beside what the settings ask of it. */
function checkTrust(
  { trust }: Settings,
  problem: string | undefined,
  protection: KeyProtection | undefined,
  report: FileReport
): void {
  if (trust === 'shared') {
    const able =
      problem === undefined ? 'could sign one for each' : `signs none for each: ${problem}`
    report.notes.push(`trust: shared. All Ray clusters trust the same CA; it ${able}.`)
  } else if (problem !== undefined) {
    report.problems.push(
      `trust: perCluster needs a CA that signs others: ${problem}. Use another, or set trust: shared; see docs/trust.md`
    )
  } else {
    const keys = protection === undefined ? 'not sealed' : `sealed by ${protection.kind}`
    report.notes.push(
      `trust: perCluster. The CA signs one for each Ray cluster; their keys are ${keys}.`
    )
  }
}

function warnSoon(setting: string, notAfter: Date, now: number, report: FileReport): void {
  if (notAfter.getTime() - now >= soonDays * 86_400_000) return
  const date = notAfter.toISOString()
  report.warnings.push(`${setting}: ends at ${date}, less than ${soonDays} days from now`)
}
