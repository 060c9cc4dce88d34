# cert-manager as it is published: its controller, and the injector that writes caBundles, as processes of this machine.
# Its own webhook only checks what people write, and is left out.

cert_manager_up() {
  local folder flags=(--kubeconfig="$KUBECONFIG" --leader-elect=false)
  ! running cert-manager || fail "cert-manager runs already: two of them would get in each other's way"
  "$harness/build" cert-manager-controller cert-manager-cainjector >/dev/null
  cd "$harness/modules/cert-manager"
  go mod download github.com/cert-manager/cert-manager
  folder=$(go list -m -f '{{.Dir}}' github.com/cert-manager/cert-manager)
  # they come as templates of a chart, in their labels alone
  cat "$folder"/deploy/crds/*.yaml | grep -v '{{' | sed 's/^apiVersion: apiextensions/---\n&/' |
    kubectl apply --server-side -f - >/dev/null
  await 60 'certificates as a resource' kubectl get certificates.cert-manager.io
  start cert-manager cert-manager-controller "${flags[@]}" --metrics-listen-address=127.0.0.1:0 \
    --cluster-resource-namespace=cert-manager --controllers='*,-gateway-shim,-ingress-shim'
  start cert-manager-cainjector cert-manager-cainjector "${flags[@]}"
}
