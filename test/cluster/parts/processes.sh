# Starting, finding and ending the cluster's processes. Each one carries the state folder in its environment, so that
# `down` finds them all, also those of a run that was killed, and never a process of anyone else.

# start NAME COMMAND...: in a session of its own, so that Ctrl-C reaches the suite and not what it still has to stop
start() {
  local name=$1
  shift
  printf '%s\0' "$@" >"$state/$name.command"
  RAYGUARD_CLUSTER_MEMBER=$state setsid nohup "$@" >>"$state/$name.log" 2>&1 </dev/null &
  echo $! >"$state/$name.pid"
}

# restart NAME: as after a crash, with the same command
restart() {
  local command
  running "$1" || fail "$1 does not run"
  mapfile -d '' command <"$state/$1.command"
  local pid limit=$((SECONDS + 10))
  pid=$(cat "$state/$1.pid")
  kill -9 "$pid"
  # its environment is gone before its ports are; a process that nobody reaps stays, hence the limit
  while kill -0 "$pid" 2>/dev/null && ((SECONDS < limit)); do sleep 0.1; done
  start "$1" "${command[@]}"
}

running() {
  local pid
  pid=$(cat "$state/$1.pid" 2>/dev/null) && member "$pid"
}

member() {
  # no pipe: grep ends at the first match, and what writes into it would then fail (pipefail)
  grep -zqxF "RAYGUARD_CLUSTER_MEMBER=$state" "/proc/$1/environ"
} 2>/dev/null

# Members and what they started: a container's processes are children of its shim, without our variable.
members() {
  local folder pid child
  declare -A wanted=()
  for folder in /proc/[0-9]*; do
    pid=${folder#/proc/}
    if [ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] && member "$pid"; then wanted[$pid]=1; fi
  done
  local grown=1
  while [ "$grown" = 1 ]; do
    grown=0
    while read -r child pid; do
      if [ -n "${wanted[$pid]:-}" ] && [ -z "${wanted[$child]:-}" ]; then
        wanted[$child]=1
        grown=1
      fi
    done < <(ps -eo pid=,ppid=)
  done
  printf '%s\n' "${!wanted[@]}"
}

status() {
  local file name
  for file in "$state"/*.pid; do
    name=$(basename "$file" .pid)
    if running "$name"; then echo "$name up"; else echo "$name down"; fi
  done
}

# Every port but DNS's is free when the cluster starts, whatever else runs on this machine.
choose_ports() {
  local names='etcd etcd_peer api proxy_health proxy_metrics kubelet dns_ready kuberay_metrics kuberay_health'
  node -e '
    const { createServer } = require("node:net")
    const names = process.argv[1].split(" ")
    const open = names.map(() => createServer().listen(0, "0.0.0.0"))
    Promise.all(open.map(server => new Promise(resolve => server.once("listening", resolve)))).then(() => {
      open.forEach((server, index) => {
        console.log(`${names[index]}_port=${server.address().port}`)
        server.close()
      })
    })' "$names" >"$state/ports"
  source "$state/ports"
}
