/**
 * `docker run` as a reader of the pages types it, for a machine without Docker: the same container by containerd, from the
 * image that the node has. Other flags than those of the pages are an error.
 */
import { chmodSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const script = (cluster: string) => `#!/bin/bash
set -euo pipefail
[ "$1" = run ] || exit 64
shift
given=()
while [[ $1 == -* ]]; do
  case $1 in
    --rm) given+=(--rm) ;;
    --network) [ "$2" = host ]; given+=(--net-host); shift ;;
    --user) given+=(--user "$2"); shift ;;
    -v) given+=(--mount "type=bind,src=\${2%%:*},dst=\${2#*:},options=rbind:rw"); shift ;;
    -w) given+=(--cwd "$2"); shift ;;
    *) echo "no flag of the pages: $1" >&2; exit 64 ;;
  esac
  shift
done
image=$1
shift
exec ${cluster} containers run "\${given[@]}" "$image" "docker-$$" rayguard "$@"
`

/** A program for the folder `programs`. */
export function writeDocker(programs: string): void {
  const file = join(programs, 'docker')
  writeFileSync(file, script(resolve('test/cluster/cluster')))
  chmodSync(file, 0o755)
}
