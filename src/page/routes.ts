/**
 * The page over HTTP: four files from memory, and the headers that keep a browser from doing anything else.
 *
 * Knows nothing of what is asked on the page: that goes to the dry run, like from everybody else.
 */
import { createHash } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import type { PageAssets } from './assets.ts'

export function pageRoutes({ html, script, style, icon }: PageAssets) {
  const files = [
    file('/', 'text/html; charset=utf-8', html),
    file('/page.js', 'text/javascript; charset=utf-8', script),
    file('/page.css', 'text/css; charset=utf-8', style),
    file('/icon.svg', 'image/svg+xml; charset=utf-8', icon)
  ]
  return async function pagePlugin(app: FastifyInstance): Promise<void> {
    for (const { path, type, body, etag } of files) {
      app.get(path, (request, reply) => {
        // Looked at anew each time: after an upgrade the page and its script have to be of one version.
        reply.headers({ ...securityHeaders, 'cache-control': 'no-cache', etag })
        if (request.headers['if-none-match'] === etag) return reply.code(304).send()
        return reply.type(type).send(body)
      })
    }
  }
}

function file(path: string, type: string, text: string) {
  const body = Buffer.from(text)
  const etag = `"${createHash('sha256').update(body).digest('base64url')}"`
  return { path, type, body, etag }
}

/**
 * Attack: markup in names, in messages, in the text itself, that the page would run or send somewhere. It makes text nodes
 * alone; and if it did not, this would still let nothing run that is not the page's own file, and no request leave the server.
 * https://www.w3.org/TR/CSP3/, https://www.w3.org/TR/trusted-types/
 */
const securityHeaders = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    // Attack: another site that shows the page in a frame and has people click in it.
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'"
  ].join('; '),
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin'
}
