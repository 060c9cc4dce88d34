# etcd, API server and controllers, with a PKI of their own that lives as long as the cluster.

# control_plane ADDRESS: where the API server listens, on the loopback interface or on the pods' bridge
control_plane() {
  local address=$1 pki=$state/pki
  local server="https://$address:$api_port"
  cluster_certificates "$address" "$server"
  export KUBECONFIG=$pki/admin.kubeconfig
  # the tests read from it which webhook changed which pod, and in which round
  cat >"$state/audit-policy.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Request
    verbs: [create, update, patch]
    resources:
      - { group: '', resources: [pods, pods/ephemeralcontainers, pods/eviction] }
      - { group: ray.io, resources: [rayclusters] }
  - level: None
YAML
  # the client certificate that it shows to a webhook that asks for one, whichever it is
  cat >"$state/admission.yaml" <<YAML
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: MutatingAdmissionWebhook
    configuration: &webhooks
      apiVersion: apiserver.config.k8s.io/v1
      kind: WebhookAdmissionConfiguration
      kubeConfigFile: $pki/webhooks.kubeconfig
  - name: ValidatingAdmissionWebhook
    configuration: *webhooks
YAML
  cat >"$pki/webhooks.kubeconfig" <<YAML
apiVersion: v1
kind: Config
users: [{ name: '*', user: { client-certificate: $pki/webhooks.crt, client-key: $pki/webhooks.key } }]
YAML
  local client="http://127.0.0.1:$etcd_port" peer="http://127.0.0.1:$etcd_peer_port"
  start etcd etcd --name member --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "$client" --advertise-client-urls "$client" \
    --listen-peer-urls "$peer" --initial-advertise-peer-urls "$peer" --initial-cluster "member=$peer"
  local endpoints=() controllers='*'
  if [ "$address" = 127.0.0.1 ]; then
    # the Service `kubernetes` may not point to a loopback address, and nobody sends heartbeats for a node
    endpoints=(--endpoint-reconciler-type=none)
    controllers='*,-node-lifecycle-controller'
  fi
  start kube-apiserver kube-apiserver --etcd-servers="$client" --bind-address="$address" --advertise-address="$address" \
    --secure-port="$api_port" "${endpoints[@]}" --cert-dir="$pki" --tls-cert-file="$pki/apiserver.crt" \
    --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" --authorization-mode=Node,RBAC \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/service-accounts.pub" \
    --service-account-signing-key-file="$pki/service-accounts.key" --service-cluster-ip-range=10.96.0.0/16 \
    --allow-privileged=true --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
    --admission-control-config-file="$state/admission.yaml" \
    --audit-policy-file="$state/audit-policy.yaml" --audit-log-path="$state/audit.log"
  await 120 'the API server' kubectl get --raw /readyz
  start kube-controller-manager kube-controller-manager --kubeconfig="$pki/controller-manager.kubeconfig" --secure-port=0 \
    --controllers="$controllers" --leader-elect=false --use-service-account-credentials --root-ca-file="$pki/ca.crt" \
    --service-account-private-key-file="$pki/service-accounts.key" \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
  await 60 'the default service account' kubectl get serviceaccount default
}

cluster_certificates() {
  local address=$1 server=$2 user
  mkdir -m 700 "$pki"
  authority ca
  # signs nothing else: whoever has a certificate of it may ask the webhook
  authority webhooks-ca
  certificate apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$address,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc"
  certificate kubelet "/O=system:nodes/CN=system:node:node" "DNS:node,IP:$network.1"
  certificate kubelet-client /O=system:masters/CN=kubelet-client DNS:kubelet-client
  certificate admin /O=system:masters/CN=admin DNS:admin
  certificate controller-manager /CN=system:kube-controller-manager DNS:controller-manager
  certificate scheduler /CN=system:kube-scheduler DNS:scheduler
  certificate webhooks /CN=kube-apiserver DNS:kube-apiserver webhooks-ca
  certificate proxy /CN=system:kube-proxy DNS:proxy
  openssl genrsa -out "$pki/service-accounts.key" 2048 2>/dev/null
  openssl rsa -in "$pki/service-accounts.key" -pubout -out "$pki/service-accounts.pub" 2>/dev/null
  for user in admin controller-manager scheduler proxy kubelet; do
    kubeconfig "$user" "$server" "{ client-certificate: $pki/$user.crt, client-key: $pki/$user.key }"
  done
}

# authority NAME
authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 7 -subj "/CN=test-cluster-$1" \
    -keyout "$pki/$1.key" -out "$pki/$1.crt" 2>/dev/null
}

# certificate NAME SUBJECT ALTERNATIVE-NAMES [AUTHORITY]
certificate() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" \
    -keyout "$pki/$1.key" -out "$pki/$1.csr" 2>/dev/null
  local authority=$pki/${4:-ca}
  openssl x509 -req -in "$pki/$1.csr" -CA "$authority.crt" -CAkey "$authority.key" -CAcreateserial -days 7 -out "$pki/$1.crt" \
    -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3") 2>/dev/null
  rm "$pki/$1.csr"
}

# kubeconfig NAME SERVER CREDENTIALS
kubeconfig() {
  cat >"$state/pki/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{ name: test, cluster: { server: '$2', certificate-authority: $state/pki/ca.crt } }]
users: [{ name: $1, user: $3 }]
contexts: [{ name: test, context: { cluster: test, user: $1 } }]
current-context: test
YAML
}
