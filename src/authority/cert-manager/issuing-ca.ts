/**
 * The CA behind an issuer, as far as it is known: from a file, or from what came with the last certificate.
 *
 * Decides that pods trust the CA that signed, whatever the issuer names as its CA: many name the root.
 */
import { type Chain, issued, pathFrom } from '../../x509/chain.ts'
import { encodePem } from '../../x509/pem.ts'
import { bestFirst } from '../../x509/same-authority.ts'
import { type AnchorFile, chainOptions, loadedChain } from '../anchor-file.ts'
import { AuthorityError } from '../authority.ts'
import { type AuthorityOptions, clusterOf } from '../options.ts'
import { readAnswer, requireIssuer } from '../signed-answer.ts'
import { toldChain } from '../told-chain.ts'

export interface Answer {
  /** PEM, the wanted certificate first. */
  certificate: string
  /** PEM of what the issuer says is its CA. */
  authority?: string | undefined
}

export interface IssuingCa {
  /** `undefined` until there was an answer. */
  readonly chain: Chain | undefined
  /** When an answer has last told it, by the steady clock; `undefined` where none has to. */
  readonly answeredAt?: number | undefined
  /** Who signed this answer. Throws AuthorityError `Invalid` where that is not to be trusted, or not there. */
  of(answer: Answer): Chain
}

export function caOfFile(file: AnchorFile): IssuingCa {
  return {
    get chain() {
      return file.chain
    },
    of({ certificate }) {
      requireIssuer(readAnswer(certificate)[0], file.chain)
      return file.chain
    }
  }
}

export function caOfAnswers(kind: string, options: AuthorityOptions): IssuingCa {
  const { steadyClock } = clusterOf(options)
  let current: { pem: string; chain: Chain } | undefined
  let answeredAt: number | undefined
  return {
    get chain() {
      return current?.chain
    },
    get answeredAt() {
      return answeredAt
    },
    of({ certificate, authority }) {
      const [first, ...above] = readAnswer(certificate)
      const named = [...above, ...(authority ? readAnswer(authority) : [])]
      const now = options.clock()
      const signer = bestFirst(named, now).find(candidate => issued(candidate, first))
      if (signer === undefined) {
        if (current !== undefined && issued(current.chain.issuing, first)) return current.chain
        throw new AuthorityError(
          'Invalid',
          'The issuer does not tell which CA has signed; put its certificate into authority.certificateFile.',
          { made: true }
        )
      }
      const pem = pathFrom(signer, named, now)
        .map(({ der }) => encodePem('CERTIFICATE', der))
        .join('')
      // The same key in a renewed certificate is another anchor, with another end.
      if (current?.pem !== pem) current = { pem, chain: loaded(pem) }
      answeredAt = steadyClock()
      return current.chain
    }
  }

  function loaded(pem: string): Chain {
    const chain = withWayOut(() => toldChain(pem, chainOptions(options)))
    options.onReload?.(loadedChain(kind, chain))
    return chain
  }
}

function withWayOut(read: () => Chain): Chain {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof AuthorityError)) throw error
    throw new AuthorityError(
      error.code,
      `${error.message} It was learned from the issuer; authority.certificateFile names another, or the signing CA without those above it.`,
      { cause: error, made: true }
    )
  }
}
