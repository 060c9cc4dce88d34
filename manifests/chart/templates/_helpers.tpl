{{- define "rayguard.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}{{ end }}
{{- end }}

{{/* Of the init container. It stands outside the settings file, so that kustomize can set it (manifests/kustomization.yaml). */}}
{{- define "rayguard.injectionImage" -}}
{{- dig "injection" "image" (include "rayguard.image" .) .Values.settings -}}
{{- end }}

{{/* Selectors can never be changed, so they hold the two labels alone. Takes the component. */}}
{{- define "rayguard.selector" -}}
app.kubernetes.io/name: rayguard
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "rayguard.labels" -}}
app.kubernetes.io/name: rayguard
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: rayguard
{{- end }}

{{/* The settings file: what the chart decides, and over it what the user gives. */}}
{{- define "rayguard.settings" -}}
{{- $injection := dict -}}
{{- range $name := list "formerImages" "imageMirrors" "imagePullSecrets" -}}
{{- with index $.Values.injection $name }}{{ $_ := set $injection $name . }}{{ end -}}
{{- end -}}
{{- $authority := dict "kind" "pem" "certificateFile" "/etc/rayguard/authority/tls.crt" "privateKeyFile" "/etc/rayguard/authority/tls.key" -}}
{{- /* another kind has other keys, and none of these may be left over */ -}}
{{- $kind := dig "authority" "kind" "pem" .Values.settings -}}
{{- if ne $kind "pem" }}{{ $authority = dict }}{{ end -}}
{{- if or (eq $kind "kubernetes-csr") (and (eq $kind "cert-manager") .Values.authority.configMap) -}}
{{- $authority = dict "certificateFile" "/etc/rayguard/authority/ca.crt" -}}
{{- end -}}
{{- /* a key of the authority's Secret that is only there while the CA is replaced (docs/ca-rotation.md) */ -}}
{{- $enrollment := dict "alsoTrustedFile" "/etc/rayguard/authority/also-trusted.crt" -}}
{{- $clients := dict "enabled" .Values.clientCertificates.enabled -}}
{{- $settings := dict "injection" $injection "authority" $authority "enrollment" $enrollment "trust" .Values.trust "clientCertificates" $clients -}}
{{- if eq .Values.serving.kind "selfManaged" -}}
{{- $_ := set $settings "serving" (dict "kind" "selfManaged") -}}
{{- else -}}
{{- $_ := set $settings "serving" (dict "kind" "files" "certificateFile" "/etc/rayguard/serving/tls.crt" "privateKeyFile" "/etc/rayguard/serving/tls.key") -}}
{{- $_ := set $injection "serverCaFile" "/etc/rayguard/enrollment-ca/ca.crt" -}}
{{- end -}}
{{- if eq .Values.serving.kind "secret" -}}
{{- $_ := set $settings "registration" (dict "caBundleFile" "/etc/rayguard/serving/ca.crt") -}}
{{- end -}}
{{- if .Values.webhook.clientCaConfigMap -}}
{{- $_ := set $settings "listen" (dict "webhook" (dict "clientCaFile" "/etc/rayguard/client-ca/ca.crt")) -}}
{{- end -}}
{{- mergeOverwrite $settings (deepCopy .Values.settings) | toYaml -}}
{{- end }}

{{/* Namespaces that no webhook and no policy of ours looks at, whatever their labels say. */}}
{{- define "rayguard.excludedNamespaces" -}}
{{- concat (list .Release.Namespace "kube-system") .Values.registration.excludedNamespaces | toJson -}}
{{- end }}

{{/* Of the CAs of single RayClusters; src/authority/per-cluster/entries.ts has the same names. */}}
{{- define "rayguard.clusterSecrets" -}}
[rayguard-clusters{{ range splitList "" "0123456789abcdef" }}, rayguard-clusters-{{ . }}{{ end }}]
{{- end }}

{{/* A list of strings as CEL writes it. */}}
{{- define "rayguard.celList" -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ $item | squote }}{{ end }}]
{{- end }}

{{/* Where the webhook is asked, and where the policies that rely on it are bound. */}}
{{- define "rayguard.namespaces" -}}
{{- with .Values.registration.namespaces -}}
- { key: kubernetes.io/metadata.name, operator: In, values: {{ toJson . }} }
{{ end -}}
- { key: kubernetes.io/metadata.name, operator: NotIn, values: {{ include "rayguard.excludedNamespaces" . }} }
- { key: rayguard.dev/paused, operator: DoesNotExist }
{{- end }}
