// Bundles bench/ into dist/bench as the program itself is bundled, and runs it with the arguments given.
import { spawn } from 'node:child_process'
import { build } from 'esbuild'

await build({
  entryPoints: ['bench/main.ts', 'bench/processes/*.ts'],
  outdir: 'dist/bench',
  outbase: 'bench',
  bundle: true,
  splitting: true,
  minifySyntax: true,
  minifyWhitespace: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  chunkNames: '[name]-[hash]',
  // Starts workers of its own by path.
  external: ['autocannon'],
  // The rest is as the program itself has it, in dist/.
  define: { RAYGUARD_VERSION: '"bench"', RAYGUARD_TOKEN_HOST: '"../chunks/token-host.js"' },
  banner: {
    js: "import { createRequire as bannerCreateRequire } from 'node:module';const require = bannerCreateRequire(import.meta.url);"
  },
  logLevel: 'warning'
})
const child = spawn(process.execPath, ['dist/bench/main.js', ...process.argv.slice(2)], {
  stdio: 'inherit'
})
child.once('exit', code => process.exit(code ?? 1))
