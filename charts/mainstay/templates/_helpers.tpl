{{/*
Names are fixed: there is one Mainstay in a cluster, since its definitions and
its webhook configuration are the cluster's.
*/}}
{{- define "mainstay.labels" -}}
app.kubernetes.io/name: mainstay
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "mainstay.selector" -}}
app.kubernetes.io/name: mainstay
app.kubernetes.io/component: controller
{{- end }}

{{- define "mainstay.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{/*
The configuration file: the user's part, and over it what the chart decides.
*/}}
{{- define "mainstay.config" -}}
{{- $service := dict "name" "mainstay" "namespace" .Release.Namespace "port" 443 -}}
{{- $chart := dict
  "apiVersion" "config.mainstay.dev/v1alpha1"
  "kind" "MainstayConfig"
  "namespace" .Release.Namespace
  "webhook" (dict "bindAddress" ":10250" "service" $service)
  "metrics" (dict "bindAddress" ":8080")
  "health" (dict "bindAddress" ":8081")
  "decisions" (dict "bindAddress" ":8443")
  "leaderElection" (dict "enabled" true)
  "sync" (dict "cacheDir" "/var/cache/mainstay") -}}
{{- if .Values.controller.clientCAConfigMap -}}
{{- $_ := set $chart.webhook "clientCAFile" "/etc/mainstay-clients/ca.crt" -}}
{{- end -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.config) $chart) -}}
{{- end }}
