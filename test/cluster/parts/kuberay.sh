# The KubeRay operator as it is published: a process of this machine that is, to the API server, the service account
# kuberay-system/kuberay-operator with the rights that KubeRay's own manifests give it.

kuberay_up() {
  local config resolver=$state/kuberay-resolv.conf
  "$harness/build" kuberay-operator >/dev/null
  config=$(kuberay_folder)/config
  kubectl apply --server-side -f "$config/crd/bases" >/dev/null
  kubectl apply -f "$config/rbac/role.yaml" >/dev/null
  kubectl create namespace kuberay-system >/dev/null
  kubectl -n kuberay-system create serviceaccount kuberay-operator >/dev/null
  kubectl create clusterrolebinding kuberay-operator --clusterrole=kuberay-operator \
    --serviceaccount=kuberay-system:kuberay-operator >/dev/null
  local token
  token=$(kubectl -n kuberay-system create token kuberay-operator --duration=24h)
  (umask 077 && kubeconfig kuberay "$(kubectl config view -o 'jsonpath={.clusters[0].cluster.server}')" "{ token: $token }")

  local flags=(--kubeconfig="$state/pki/kuberay.kubeconfig" --enable-leader-election=false
    --metrics-addr="127.0.0.1:$kuberay_metrics_port" --health-probe-bind-address="127.0.0.1:$kuberay_health_port" "$@")
  if running coredns; then
    # it asks heads for the state of their jobs by the name of a Service: that needs the cluster's DNS
    printf 'nameserver %s.1\nsearch svc.cluster.local cluster.local\n' "$network" >"$resolver"
    start kuberay unshare --mount bash -c 'mount --bind "$0" /etc/resolv.conf && exec kuberay-operator "$@"' \
      "$resolver" "${flags[@]}"
  else
    start kuberay kuberay-operator "${flags[@]}"
  fi
  await 60 'the KubeRay operator' curl -sf "http://127.0.0.1:$kuberay_health_port/readyz"
}

# CRDs, roles and samples come inside the operator's module.
kuberay_folder() {
  cd "$harness/modules/kuberay"
  go mod download github.com/ray-project/kuberay/ray-operator
  go list -m -f '{{.Dir}}' github.com/ray-project/kuberay/ray-operator
}
