/**
 * The lines that do in a terminal what the page does.
 */

export interface Wish {
  /** Where the page comes from. */
  base: string
  /** As the browser names it: without folders. Absent where the text was not a file. */
  file?: string
  profile: string
  tls: string
}

export function curlLine({ base, file, profile, tls }: Wish): string {
  const address = new URL('dry-run', base)
  address.search = new URLSearchParams({ output: 'diff', profile, tls }).toString()
  return [
    'curl --fail-with-body',
    // Forwarded, or served on one's own machine: the certificate is for another name, and the way does not leave the machine.
    ...(isLoopback(address.hostname) ? ['--insecure'] : []),
    '--header',
    quoted('content-type: text/yaml'),
    '--data-binary',
    quoted(`@${fileName(file)}`),
    quoted(address.href)
  ].join(' ')
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.[\d.]+$/.test(hostname)
}

export function programLine({ file, profile, tls }: Wish): string {
  // A name that begins with a dash would be read as an option.
  const path = fileName(file).replace(/^-/, './-')
  return `npx rayguard dry-run -f ${quoted(path)} -o diff --profile ${quoted(profile)} --tls ${quoted(tls)}`
}

/** Attack: a name with control characters, which a terminal would obey when the line is pasted. */
function fileName(file: string | undefined): string {
  return file === undefined || file === '' || /\p{C}/u.test(file) ? 'pods.yaml' : file
}

/** One word for a POSIX shell, whatever is in it. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
