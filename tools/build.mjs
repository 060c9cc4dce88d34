// Bundles the program into dist/: rayguard.js (a few lines that look at argv) and one chunk a command, so that the agent
// in a pod loads only what it needs; the thread that works out dry runs and the process for an HSM's library, which are loaded
// by their paths. Prints nothing unless something is wrong.
import { chmod, readFile, rm } from 'node:fs/promises'
import { build } from 'esbuild'
import { buildPage } from './page.mjs'

const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))

await rm('dist', { recursive: true, force: true })
await build({
  entryPoints: {
    rayguard: 'src/main.ts',
    'chunks/dry-run-thread': 'src/preview/thread.ts',
    'chunks/token-host': 'src/authority/pkcs11/token-host.ts'
  },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  // Names stay as they are: shortened ones would hide where an error came from, and keepNames sets the name of every
  // closure when it is made, which is a sixth of the processor time of an admission.
  minifySyntax: true,
  minifyWhitespace: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  chunkNames: 'chunks/[name]-[hash]',
  define: {
    RAYGUARD_VERSION: JSON.stringify(version),
    RAYGUARD_PAGE: JSON.stringify(JSON.stringify(await buildPage())),
    RAYGUARD_DRY_RUN_THREAD: JSON.stringify('./dry-run-thread.js'),
    RAYGUARD_TOKEN_HOST: JSON.stringify('./token-host.js')
  },
  banner: {
    // Packages that are CommonJS inside still call require().
    js: "import { createRequire as bannerCreateRequire } from 'node:module';const require = bannerCreateRequire(import.meta.url);"
  },
  logLevel: 'warning'
})
await chmod('dist/rayguard.js', 0o755)
