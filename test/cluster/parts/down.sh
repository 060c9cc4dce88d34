# Ends everything that `up` started and removes what it left on the machine. Works on a half-started cluster as well.

down() {
  [ -d "$state" ] || return 0
  # SIGKILL: an API server with open watches takes minutes to end politely, and nothing here is worth keeping
  local round pids
  for round in 1 2 3 4 5; do
    pids=$(members)
    [ -n "$pids" ] || break
    kill -9 $pids 2>/dev/null || true
    sleep 0.3
  done
  awk -v under="$state/" 'index($2, under) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do
    umount -l "$mount" || true
  done
  if [ -e "$state/cni" ]; then
    ip link delete rayguard0 2>/dev/null || true
    rm -f /var/lib/cni/results/rayguard-test-*
    kube-proxy --cleanup >/dev/null 2>&1 || true
    remove_rules
  fi
  if [ -e "$state/no-run-containerd" ]; then rm -rf /run/containerd; fi
  if [ -e "$state/sysctl" ]; then
    tac "$state/sysctl" | while read -r setting; do sysctl -qw "$setting" || true; done
  fi
  find "$state" -xdev -depth -delete 2>/dev/null || rm -rf --one-file-system "$state"
}

# The kubelet's own rules; no other node runs on this machine, `up` made sure of it.
remove_rules() {
  local save
  for save in iptables-save ip6tables-save; do
    command -v "$save" >/dev/null || continue
    "$save" | { grep -v -e '^:KUBE-' -e '-j KUBE-' -e '^-A KUBE-' || true; } | "${save%-save}-restore" || true
  done
}
