/**
 * The authority in a Vault or an OpenBao: a role of its PKI secrets engine signs, the CA's key never leaves it.
 *
 * Decides which issuing CA is the right one: the one that Vault shows for the mount, judged as files are. A changed one is
 * taken when it is usable; an answer that comes from another one is not handed out.
 */
import type { Chain } from '../../x509/chain.ts'
import { readPem } from '../../x509/pem.ts'
import { descriptionOf } from '../anchor-file.ts'
import {
  type Authority,
  AuthorityError,
  type IssuedCertificate,
  type LeafContent,
  type ReloadOutcome
} from '../authority.ts'
import { type AuthorityOptions, defaultLifetimeSeconds, defaultPollMs } from '../options.ts'
import { readTextFile } from '../pem-files.ts'
import { poll } from '../poll.ts'
import { toldChain } from '../told-chain.ts'
import { createIntermediates, intermediatePath } from './intermediates.ts'
import { readIssuer } from './issuer.ts'
import type { LoginSettings } from './login.ts'
import { createRefusedIssuer } from './refused-issuer.ts'
import { denial } from './rights.ts'
import { createSession, type Session } from './session.ts'
import { type PkiSettings, signLeaf } from './signing.ts'
import { openTransit, type TransitSettings } from './transit.ts'
import { createTransport, type Transport } from './transport.ts'
import { tryRole } from './trial.ts'

export interface VaultAuthoritySettings extends PkiSettings {
  kind: 'vault'
  /** Base URL, https. */
  address: string
  caFile: string
  namespace?: string | undefined
  login: LoginSettings
  transit?: TransitSettings | undefined
}

export interface VaultAuthority extends Authority {
  /** Looks at caFile and at the issuing CA now. `undefined`: nothing has changed. */
  reload(): Promise<ReloadOutcome | undefined>
}

const timeoutMs = 5_000
const pauseMs = 2_000
/** Looks in a row without an answer that are no problem yet. */
const toleratedMisses = 1

/** Throws {@link AuthorityError}. */
export async function openVaultAuthority(
  settings: VaultAuthoritySettings,
  options: AuthorityOptions
): Promise<VaultAuthority> {
  const ca = await readCa(settings.caFile)
  const transport = createTransport({ ...settings, ca, timeoutMs })
  let session: Session | undefined
  try {
    // Wants no token: each login may be one use less of a secret id.
    const text = await shownBy(transport, settings)
    session = await createSession({ transport, login: settings.login, pauseMs })
    return await opened(settings, options, { transport, session, ca, text })
  } catch (error) {
    await session?.close()
    await transport.close()
    throw error
  }
}

interface Parts {
  transport: Transport
  session: Session
  ca: string
  /** PEM of the issuing CA and those above it. */
  text: string
}

interface Issuer {
  text: string
  chain: Chain
  warnings: string[]
}

async function opened(
  settings: VaultAuthoritySettings,
  options: AuthorityOptions,
  { transport, session, ca, text }: Parts
): Promise<VaultAuthority> {
  const { clock, clusterDomain = 'cluster.local' } = options
  const namesFrom = settings.mode === 'sign' ? 'server' : 'request'
  let trusted = ca
  const protection = settings.transit && (await openTransit(session, settings.transit))
  let denied = await denial(session, intermediatePath(settings))
  // The last that may fail: it has a certificate signed, and an opening that failed is tried again and again.
  let current = await judged(text)
  const refused = createRefusedIssuer(() => performance.now())
  /** Why it is not known which issuing CA Vault shows, though it answers. */
  let unread: string | undefined
  /** Looks without an answer, in a row, and why. */
  let misses = { count: 0, reason: '' }
  let looking: Promise<ReloadOutcome | undefined> | undefined
  let lookedAt = performance.now()

  const tell = (outcome: ReloadOutcome): ReloadOutcome => {
    options.onReload?.(outcome)
    return outcome
  }
  const loaded = () => tell({ loaded: true, description: describe(), warnings: current.warnings })
  const stop = poll(options.pollMs ?? defaultPollMs, reload)
  loaded()
  return {
    namesFrom,
    issue,
    describe,
    chain: () => current.chain,
    reload,
    problem,
    intermediates: createIntermediates({
      session,
      settings,
      chain: () => current.chain,
      isReplaced,
      denied: () => denied,
      clock
    }),
    ...(protection === undefined ? {} : { protection }),
    async close() {
      await stop()
      await looking
      await session.close()
      await transport.close()
    }
  }

  async function issue(request: LeafContent): Promise<IssuedCertificate> {
    const { chain } = current
    const first = await signed(chain, request)
    if (first.expectedIssuer) return first.issued
    // Rotated a moment ago, or another one by the role: only a second look can tell.
    if (!(await isReplaced(chain))) throw otherIssuer()
    const second = await signed(current.chain, request)
    if (second.expectedIssuer) return second.issued
    throw otherIssuer()
  }

  async function isReplaced(chain: Chain): Promise<boolean> {
    await (looking ?? (performance.now() - lookedAt >= pauseMs ? reload() : undefined))
    return current.chain !== chain
  }

  function describe() {
    return descriptionOf(settings.kind, current.chain)
  }

  function problem(): string | undefined {
    if (misses.count > toleratedMisses) return misses.reason
    const reason = unread ?? refused.reason
    return session.problem() ?? (reason && `the CA that Vault shows cannot be used: ${reason}`)
  }

  function reload(): Promise<ReloadOutcome | undefined> {
    looking ??= look().finally(() => {
      looking = undefined
      lookedAt = performance.now()
    })
    return looking
  }

  async function look(): Promise<ReloadOutcome | undefined> {
    let text: string | undefined
    try {
      await renewTrust()
      text = await shownBy(transport, settings)
      misses = { count: 0, reason: '' }
      const readAgain = unread !== undefined
      unread = undefined
      const changed = text !== current.text
      const isDue = !changed || refused.isDue(text)
      if (changed && isDue) current = await judged(text)
      if (isDue && (refused.forget() || changed || readAgain)) return loaded()
      if (denied !== undefined) denied = await denial(session, intermediatePath(settings))
      return undefined
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      if (error instanceof AuthorityError && error.code === 'Unavailable') {
        misses = { count: misses.count + 1, reason: message }
        return undefined
      }
      const isNew = text === undefined ? message !== unread : refused.note(message, text)
      if (text === undefined) unread = message
      return isNew ? tell({ loaded: false, reason: message }) : undefined
    }
  }

  async function renewTrust(): Promise<void> {
    const found = await readCa(settings.caFile)
    if (found === trusted) return
    transport.trust(found)
    trusted = found
  }

  async function judged(text: string): Promise<Issuer> {
    const chain = toldChain(text, { now: new Date(clock()), clusterDomain })
    const warnings = await tryRole({
      what: `role ${settings.role} at ${settings.mount}`,
      namesFrom,
      clusterDomain,
      lifetimeSeconds: options.lifetimeSeconds ?? defaultLifetimeSeconds,
      now: clock(),
      async sign(request) {
        const { issued, expectedIssuer } = await signed(chain, request)
        if (expectedIssuer) return issued
        throw otherIssuer()
      }
    })
    return { text, chain, warnings: [...chain.warnings, ...warnings] }
  }

  function signed(chain: Chain, request: LeafContent) {
    return signLeaf(session, settings, chain, request, clock())
  }

  function otherIssuer(): AuthorityError {
    const expected = settings.issuerRef ?? 'the default issuer'
    return new AuthorityError(
      'Invalid',
      `The role ${settings.role} signs with another CA than ${expected} of ${settings.mount}; set authority.issuerRef to the issuer that is meant.`,
      { made: true }
    )
  }
}

function shownBy(transport: Transport, { mount, issuerRef }: PkiSettings): Promise<string> {
  return readIssuer(transport, mount, issuerRef ?? 'default')
}

async function readCa(file: string): Promise<string> {
  const text = await readTextFile(file)
  const blocks = readPem(text) ?? []
  if (blocks.some(({ label }) => label === 'CERTIFICATE')) return text
  throw new AuthorityError('Invalid', `The file ${file} has no certificate in PEM.`)
}
