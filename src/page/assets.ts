/**
 * The files of the page, as the build has put them into the program.
 */

export interface PageAssets {
  html: string
  style: string
  icon: string
  /** Bundled for browsers. */
  script: string
}

/** As JSON: esbuild would put an object into the entry, which every pod reads. */
declare const RAYGUARD_PAGE: string

/** Undefined where the program runs from its sources: browsers cannot run these. */
export function builtAssets(): PageAssets | undefined {
  return typeof RAYGUARD_PAGE === 'string' ? JSON.parse(RAYGUARD_PAGE) : undefined
}
