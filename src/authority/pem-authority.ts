/** The authority over files. */
import { createLocalIssuer } from './local.ts'
import type { AuthorityOptions } from './options.ts'
import { openPem, type PemFiles, type PemTexts, readPemFiles } from './pem-files.ts'
import { createReloadedAuthority, type ReloadedAuthority } from './reloaded-authority.ts'

/** Throws AuthorityError `Invalid` when the files are not a usable CA now. */
export async function openPemAuthority(
  files: PemFiles,
  options: AuthorityOptions
): Promise<ReloadedAuthority> {
  const read = () => readPemFiles(files)
  const { clusterDomain, signsCas = false } = options
  return await createReloadedAuthority<PemTexts>(
    await read(),
    {
      read,
      // Not the texts themselves: the key and its passphrase need not stay in memory twice.
      mark: ({ digest }) => digest,
      warnings: ({ warnings }) => warnings,
      issuerOf(texts) {
        const { chain, key } = openPem(texts, {
          now: new Date(options.clock()),
          signsCas,
          ...(clusterDomain === undefined ? {} : { clusterDomain })
        })
        return createLocalIssuer('pem', chain, key, options)
      }
    },
    options
  )
}
