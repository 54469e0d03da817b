{{/* Name before each object's own part. At most 40 characters and legal as a Service's name; one that had to be changed
to be so ends in a hash, so that two releases never share it. */}}
{{- define "stock-backtest.fullname" -}}
{{- $usual := contains "stock-backtest" .Release.Name | ternary .Release.Name (printf "%s-stock-backtest" .Release.Name) -}}
{{- $wanted := .Values.fullnameOverride | default $usual -}}
{{- $legal := regexReplaceAll "[^a-z0-9-]" $wanted "-" -}}
{{- if regexMatch "^[^a-z]" $legal }}{{ $legal = printf "bt-%s" $legal }}{{ end -}}
{{- if or (ne $legal $wanted) (gt (len $legal) 40) -}}
{{- printf "%s-%s" ($legal | trunc 31 | trimSuffix "-") (sha256sum $wanted | trunc 8) -}}
{{- else -}}
{{- $legal -}}
{{- end -}}
{{- end }}

{{/* The three that never change: selectors are made of them. Takes root and component. */}}
{{- define "stock-backtest.selectorLabels" -}}
app.kubernetes.io/name: stock-backtest
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "stock-backtest.labels" -}}
{{ include "stock-backtest.selectorLabels" . }}
app.kubernetes.io/part-of: stock-backtest
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Of pods: without versions, so that a new version of the chart alone restarts nothing. */}}
{{- define "stock-backtest.podLabels" -}}
{{ include "stock-backtest.selectorLabels" . }}
app.kubernetes.io/part-of: stock-backtest
stock-backtest/database-client: "true"
{{- with .values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Takes root and image. */}}
{{- define "stock-backtest.image" -}}
{{- with (.root.Values.global).imageRegistry | default .image.registry }}{{ . }}/{{ end -}}
{{- .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{/* Takes root, component and values. */}}
{{- define "stock-backtest.serviceAccountName" -}}
{{- .values.serviceAccount.name | default (printf "%s-%s" (include "stock-backtest.fullname" .root) .component) -}}
{{- end }}

{{- define "stock-backtest.configName" -}}
{{ include "stock-backtest.fullname" . }}-config
{{- end }}

{{- define "stock-backtest.jobTemplateName" -}}
{{ include "stock-backtest.fullname" . }}-worker-job
{{- end }}

{{/* "" or "/path": what goes before every path of the web. */}}
{{- define "stock-backtest.basePath" -}}
{{- .Values.web.basePath | trimSuffix "/" -}}
{{- end }}

{{- define "stock-backtest.webReplicas" -}}
{{- .Values.web.autoscaling.enabled | ternary .Values.web.autoscaling.maxReplicas .Values.web.replicaCount -}}
{{- end }}
