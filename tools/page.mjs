// The files of the page, as texts: its browser code is bundled, the others are as they are.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const folder = new URL('../src/page/', import.meta.url)

/** @returns {Promise<import('../src/page/assets.ts').PageAssets>} */
export async function buildPage() {
  const [html, style, icon] = await Promise.all(
    ['page.html', 'page.css', 'icon.svg'].map(name => readFile(new URL(name, folder), 'utf8'))
  )
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('browser/main.ts', folder))],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
    logLevel: 'warning'
  })
  return { html, style, icon, script: outputFiles[0].text }
}
