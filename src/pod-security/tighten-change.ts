/**
 * One change that makes a pod safer: where, and what becomes of it.
 *
 * `path` has the members from the pod down; parents that are absent have to be made.
 */
export type Path = (string | number)[]

export type Change =
  | { action: 'set'; path: Path; value: unknown }
  /** To the end of the list at the path. */
  | { action: 'append'; path: Path; value: unknown }
  /** `found`: what somebody wrote, and what has no effect. */
  | { action: 'replace'; path: Path; value: unknown; found: unknown }
  | { action: 'remove'; path: Path; found: unknown }
