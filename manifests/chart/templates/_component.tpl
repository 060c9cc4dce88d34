{{/*
Service, Deployment and PodDisruptionBudget of one component. Takes a dict: root, name, port (if it listens), volumes (a
list) beside the settings file, env (a list), and apart: true for one that has no business with the Kubernetes API.
*/}}
{{- define "rayguard.component" -}}
{{- $root := .root -}}
{{- $values := index $root.Values .name -}}
{{- $name := printf "rayguard-%s" .name -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "rayguard.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
spec:
  selector: {{- include "rayguard.selector" .name | nindent 4 }}
  ports:
    {{- if .port }}
    - { name: https, port: 443, targetPort: {{ .name }} }
    {{- end }}
    - { name: ops, port: 8080, targetPort: ops }
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "rayguard.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "rayguard.selector" .name | nindent 6 }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "rayguard.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .name }}
spec:
  replicas: {{ $values.replicas }}
  strategy:
    rollingUpdate: { maxSurge: 1, maxUnavailable: 0 }
  # a Service sends to a replica that is ready only when every node has heard of it, and until then its former one stays
  minReadySeconds: 5
  selector:
    matchLabels: {{- include "rayguard.selector" .name | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "rayguard.selector" .name | nindent 8 }}
        {{- with $values.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      annotations:
        # settings are read once, so other settings are other pods
        checksum/settings: {{ include "rayguard.settings" $root | sha256sum }}
        {{- with $values.podAnnotations }}{{ toYaml . | nindent 8 }}{{ end }}
    spec:
      {{- if .apart }}
      automountServiceAccountToken: false
      {{- else }}
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: true
      {{- end }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: 30
      {{- if and $root.Values.priorityClass.name (not .apart) }}
      priorityClassName: {{ $root.Values.priorityClass.name }}
      {{- end }}
      {{- if $values.hostNetwork }}
      hostNetwork: true
      dnsPolicy: ClusterFirstWithHostNet
      {{- end }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity: {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
        - topologyKey: {{ . }}
          maxSkew: 1
          whenUnsatisfiable: ScheduleAnyway
          matchLabelKeys: [pod-template-hash]
          labelSelector:
            matchLabels: {{- include "rayguard.selector" $.name | nindent 14 }}
        {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        fsGroup: 65532
        seccompProfile: { type: RuntimeDefault }
      containers:
        - name: rayguard
          image: {{ include "rayguard.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: [serve]
          env:
            - { name: RAYGUARD_CONFIG, value: /etc/rayguard/config.yaml }
            - { name: RAYGUARD_COMPONENTS, value: {{ .name }} }
            - { name: RAYGUARD_INJECTION_IMAGE, value: {{ include "rayguard.injectionImage" $root | quote }} }
            {{- with .env }}{{ toYaml . | nindent 12 }}{{ end }}
          ports:
            {{- if .port }}
            - { name: {{ .name }}, containerPort: {{ .port }} }
            {{- end }}
            - { name: ops, containerPort: 8080 }
          startupProbe: { httpGet: { path: /livez, port: ops }, periodSeconds: 1, failureThreshold: 60 }
          livenessProbe: { httpGet: { path: /livez, port: ops }, timeoutSeconds: 5 }
          readinessProbe: { httpGet: { path: /readyz, port: ops }, periodSeconds: 2, timeoutSeconds: 2 }
          resources: {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
          volumeMounts:
            - { name: settings, mountPath: /etc/rayguard/config.yaml, subPath: config.yaml, readOnly: true }
            {{- range .volumes }}
            - { name: {{ .name }}, mountPath: /etc/rayguard/{{ .name }}, readOnly: true }
            {{- end }}
            {{- with $values.volumeMounts }}{{ toYaml . | nindent 12 }}{{ end }}
      volumes:
        - { name: settings, configMap: { name: rayguard } }
        {{- with .volumes }}{{ toYaml . | nindent 8 }}{{ end }}
        {{- with $values.volumes }}{{ toYaml . | nindent 8 }}{{ end }}
{{- end }}

{{/* ServiceAccount, and the bindings of its ClusterRole and Role. Takes a dict: root, name, role (whether it always has one). */}}
{{- define "rayguard.account" -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $name := printf "rayguard-%s" .name -}}
{{- $labels := printf "%s\napp.kubernetes.io/component: %s" (include "rayguard.labels" .root) .name -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels: {{- $labels | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {{ $name }}
  labels: {{- $labels | nindent 4 }}
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {{ $name }} }
subjects: [{ kind: ServiceAccount, name: {{ $name }}, namespace: {{ $namespace }} }]
{{- if or .role (eq .root.Values.serving.kind "selfManaged") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $name }}
  namespace: {{ $namespace }}
  labels: {{- $labels | nindent 4 }}
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ $name }} }
subjects: [{ kind: ServiceAccount, name: {{ $name }}, namespace: {{ $namespace }} }]
{{- end }}
{{- end }}
