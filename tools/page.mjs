// The files of the page, as texts: its browser code and its style are bundled, the others are as they are.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const folder = new URL('../src/page/', import.meta.url)

/** @returns {Promise<import('../src/page/assets.ts').PageAssets>} */
export async function buildPage() {
  const [html, icon, script, style] = await Promise.all([
    readFile(new URL('page.html', folder), 'utf8'),
    readFile(new URL('icon.svg', folder), 'utf8'),
    bundled('browser/main.ts'),
    bundled('page.css')
  ])
  return { html, icon, script, style }
}

async function bundled(entry) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL(entry, folder))],
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
    logLevel: 'warning'
  })
  return outputFiles[0].text
}
