declare const RAYGUARD_VERSION: string

/** The version that the bundle was built with; run from its sources the program has none. */
export function version(): string {
  return typeof RAYGUARD_VERSION === 'string' ? RAYGUARD_VERSION : 'development'
}
