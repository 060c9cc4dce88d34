# Where things are, and the few words that the scripts beside this folder share. Sourced, never run.

harness=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
repository=$(cd "$harness/../.." && pwd)
cache=${RAYGUARD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rayguard}
bin=$cache/bin
images=$cache/images

say() { echo "${0##*/}: $*" >&2; }

fail() {
  say "$*"
  exit 1
}

# await SECONDS WHAT COMMAND...: runs the command until it succeeds
await() {
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || fail "$what did not become ready in time${state:+; the logs are in $state}"
    sleep 0.2
  done
}

# packages NAME...: Debian packages, installed when they are missing
packages() {
  local name missing=()
  for name; do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || fail "these packages are missing, and only root can install them: ${missing[*]}"
  say "installing ${missing[*]}"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } \
    >/dev/null || fail "apt-get could not install ${missing[*]}"
}
