{{/* Name of every object. At most 40 characters, legal as a Service's name; one that had to be changed to be so ends in
a hash, so that two releases never share it. */}}
{{- define "mysql.fullname" -}}
{{- $wanted := .Values.fullnameOverride | default (printf "%s-mysql" .Release.Name) -}}
{{- $legal := regexReplaceAll "[^a-z0-9-]" $wanted "-" -}}
{{- if regexMatch "^[^a-z]" $legal }}{{ $legal = printf "db-%s" $legal }}{{ end -}}
{{- if or (ne $legal $wanted) (gt (len $legal) 40) -}}
{{- printf "%s-%s" ($legal | trunc 31 | trimSuffix "-") (sha256sum $wanted | trunc 8) -}}
{{- else -}}
{{- $legal -}}
{{- end -}}
{{- end }}

{{- define "mysql.labels" -}}
{{ include "mysql.constantLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "mysql-%s" .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." }}
{{- end }}

{{/* The pod has only these: a new version of the chart alone must not restart the database. */}}
{{- define "mysql.constantLabels" -}}
{{ include "mysql.selectorLabels" . }}
app.kubernetes.io/part-of: stock-backtest
{{- end }}

{{- define "mysql.selectorLabels" -}}
app.kubernetes.io/name: mysql
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: mysql
{{- end }}

{{- define "mysql.image" -}}
{{- $registry := (.Values.global).imageRegistry | default .Values.image.registry -}}
{{- with $registry }}{{ . }}/{{ end -}}
{{- .Values.image.repository }}:{{ .Values.image.tag }}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{- define "mysql.secretName" -}}
{{- .Values.auth.existingSecret | default (include "mysql.fullname" .) -}}
{{- end }}

{{/* How a message names a value of this chart. */}}
{{- define "mysql.value" -}}
{{- if not .root.Chart.IsRoot }}mysql.{{ end }}{{ .name -}}
{{- end }}

{{/* A size of Kubernetes in GiB, with six digits: it writes the same size in several ways. */}}
{{- define "mysql.gibibytes" -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- $powers := dict "" (list 1 0) "k" (list 1000 1) "M" (list 1000 2) "G" (list 1000 3) "T" (list 1000 4) "P" (list 1000 5) "Ki" (list 1024 1) "Mi" (list 1024 2) "Gi" (list 1024 3) "Ti" (list 1024 4) "Pi" (list 1024 5) -}}
{{- $power := get $powers (trimPrefix $number .) -}}
{{- $bytes := float64 $number -}}
{{- range until (index $power 1) }}{{ $bytes = mulf $bytes (index $power 0) }}{{ end -}}
{{- regexReplaceAll "\\.?0+$" (printf "%.6f" (divf $bytes 1073741824.0)) "" -}}
{{- end }}

{{/* Name of the volume claim; nothing when the data lives in the pod. */}}
{{- define "mysql.claim" -}}
{{- if .Values.persistence.enabled -}}
{{- .Values.persistence.existingClaim | default (printf "data-%s-0" (include "mysql.fullname" .)) -}}
{{- end -}}
{{- end }}

{{/* Says true when the data outlives the release: then its passwords must, too. */}}
{{- define "mysql.dataKept" -}}
{{- $p := .Values.persistence -}}
{{- if and $p.enabled (or $p.existingClaim (eq $p.retentionPolicy.whenDeleted "Retain")) }}true{{ end -}}
{{- end }}
