# One real node: containerd with runc, a bridge network, kubelet, scheduler, kube-proxy and CoreDNS, all under the state
# folder. The machine's cgroup mounts stay untouched.

node_requirements() {
  packages runc containernetworking-plugins iptables iproute2 conntrack openssl curl procps
  if pgrep --runstates D,R,S,T -x kubelet >/dev/null; then fail 'this machine is a Kubernetes node already: a kubelet runs'; fi
  if ip -4 route show "$network.0/24" | grep -q . || ip -4 addr show to "$network.0/24" | grep -q .; then
    fail "the network $network.0/24 is in use; choose another by RAYGUARD_NETWORK=10.78.0"
  fi
}

network_up() {
  ip link add rayguard0 type bridge
  ip address add "$network.1/24" dev rayguard0
  ip link set rayguard0 up
  # answers of a Service's pod to a pod on the same bridge have to pass connection tracking
  modprobe br_netfilter 2>/dev/null || true
  remember_and_set net.ipv4.ip_forward 1
  remember_and_set net.bridge.bridge-nf-call-iptables 1
  mkdir -p "$state/cni"
  cat >"$state/cni/10-bridge.conflist" <<JSON
{ "cniVersion": "1.0.0", "name": "rayguard-test", "plugins": [{
  "type": "bridge", "bridge": "rayguard0", "isGateway": true, "hairpinMode": true,
  "ipam": { "type": "host-local", "dataDir": "$state/addresses",
    "ranges": [[{ "subnet": "$network.0/24" }]], "routes": [{ "dst": "0.0.0.0/0" }] } }] }
JSON
}

# remember_and_set KEY VALUE: `down` puts the old value back
remember_and_set() {
  echo "$1=$(sysctl -n "$1")" >>"$state/sysctl"
  sysctl -qw "$1=$2"
}

node_up() {
  local pki=$state/pki
  container_runtime
  : >"$state/resolv.conf"
  cat >"$state/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $network.1
port: $kubelet_port
healthzPort: 0
authentication: { x509: { clientCAFile: $pki/ca.crt }, webhook: { enabled: false }, anonymous: { enabled: false } }
authorization: { mode: AlwaysAllow }
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
containerRuntimeEndpoint: unix://$state/containerd.sock
clusterDNS: [$network.1]
clusterDomain: cluster.local
resolvConf: $state/resolv.conf
# runs on machines with either version of cgroups, and inside containers that may not change them
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
evictionHard: { memory.available: 1Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1% }
YAML
  start kubelet kubelet --config="$state/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" --hostname-override=node \
    --node-ip="$network.1" --root-dir="$state/kubelet" --cert-dir="$state/kubelet-pki"
  start kube-scheduler kube-scheduler --kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false --secure-port=0
  start kube-proxy kube-proxy --kubeconfig="$pki/proxy.kubeconfig" --proxy-mode=iptables --cluster-cidr="$network.0/24" \
    --hostname-override=node --healthz-bind-address="127.0.0.1:$proxy_health_port" \
    --metrics-bind-address="127.0.0.1:$proxy_metrics_port" --conntrack-max-per-core=0 \
    --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0
  name_service
  await 90 'the node' kubectl wait --for=condition=Ready node/node --timeout=1s
  await 30 CoreDNS curl -sf "http://127.0.0.1:$dns_ready_port/ready"
}

container_runtime() {
  [ -e /run/containerd ] || touch "$state/no-run-containerd"
  cat >"$state/containerd.toml" <<TOML
version = 3
root = "$state/containerd"
state = "$state/containerd-run"
[grpc]
  address = "$state/containerd.sock"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.internal.v1.opt"]
  path = "$state/opt"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  # a container without CAP_SYS_RESOURCE may not lower an oom_score_adj; runc would die of it
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "$state/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
TOML
  start containerd containerd --config "$state/containerd.toml"
  await 30 containerd containers version
  node_load "$("$harness/image" pause)"
}

containers() { ctr --address "$state/containerd.sock" --namespace k8s.io "$@"; }

# crash NAMESPACE POD [CONTAINER]
crash() {
  local kind='"io.cri-containerd.kind"==sandbox' found
  [ -z "${3:-}" ] || kind="\"io.kubernetes.container.name\"==$3"
  found=$(containers containers list -q "labels.\"io.kubernetes.pod.namespace\"==$1,labels.\"io.kubernetes.pod.name\"==$2,labels.$kind")
  # those that have ended are still listed
  found=$(containers tasks list | awk -v wanted=" $(tr '\n' ' ' <<<"$found")" '$3 == "RUNNING" && index(wanted, " " $1 " ") { print $1 }')
  [ -n "$found" ] || fail "nothing of $1/$2 runs"
  containers tasks kill --signal SIGKILL "$found"
}

node_load() { containers images import "$1" >/dev/null; }

name_service() {
  cat >"$state/Corefile" <<CONF
cluster.local:53 {
    bind $network.1
    errors
    ready 127.0.0.1:$dns_ready_port
    kubernetes cluster.local {
        kubeconfig $state/pki/admin.kubeconfig test
        pods insecure
        ttl 0
    }
}
.:53 {
    bind $network.1
    template ANY ANY {
        rcode NXDOMAIN
    }
}
CONF
  start coredns coredns -conf "$state/Corefile"
}
