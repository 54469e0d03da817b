{{/*
The names that the web is known by: its own machine's (port-forward), the Service's, those of Ingress and HTTPRoute, and
web.allowedHosts. An HTTPRoute without hostnames leaves the choice to its Gateway.
*/}}
{{- define "stock-backtest.allowedHosts" -}}
{{- $service := printf "%s-web" (include "stock-backtest.fullname" .) -}}
{{- $inNamespace := printf "%s.%s" $service .Release.Namespace -}}
{{- $hosts := list ".localhost" $service $inNamespace (printf "%s.svc" $inNamespace) (printf "%s.svc.cluster.local" $inNamespace) -}}
{{- if .Values.ingress.enabled -}}
{{- $hosts = concat $hosts .Values.ingress.hosts -}}
{{- end -}}
{{- if .Values.httpRoute.enabled -}}
{{- $hosts = concat $hosts (.Values.httpRoute.hostnames | default (list "*")) -}}
{{- end -}}
{{- $names := list -}}
{{- range concat $hosts .Values.web.allowedHosts -}}
{{- $names = append $names (hasPrefix "*." . | ternary (trimPrefix "*" .) .) -}}
{{- end -}}
{{- $names | uniq | join "," -}}
{{- end }}

{{/* How many proxies are believed; none where somebody may come past them. */}}
{{- define "stock-backtest.proxyHops" -}}
{{- $isOnlyWay := and (eq .Values.web.service.type "ClusterIP") (or .Values.ingress.enabled .Values.httpRoute.enabled) -}}
{{- kindIs "invalid" .Values.web.proxyHops | ternary (ternary 1 0 $isOnlyWay) .Values.web.proxyHops | int -}}
{{- end }}

{{/* The settings of scripts/config.py; what stands here and nowhere else rolls the pods when it changes. */}}
{{- define "stock-backtest.config" -}}
{{- $database := include "stock-backtest.database" . | fromYaml -}}
DB_HOST: {{ $database.host | quote }}
DB_PORT: {{ $database.port | quote }}
DB_NAME: {{ $database.name | quote }}
DB_PASSWORD_FILE: /run/secrets/database/password
DB_TLS: {{ $database.tls }}
{{- if $database.ca }}
DB_TLS_CA: /run/secrets/database-ca/ca.crt
{{- end }}
SQLITE_PATH: ""
LOG_LEVEL: {{ .Values.config.logLevel }}
LOG_FORMAT: {{ .Values.config.logFormat }}
ACCESS_LOG: {{ .Values.config.accessLog | quote }}
LAUNCHER: kubernetes
JOB_TEMPLATE: {{ include "stock-backtest.jobTemplateName" . }}
MAX_ACTIVE_RUNS: {{ .Values.worker.maxActive | quote }}
MAX_PENDING_RUNS: {{ .Values.worker.maxPending | quote }}
MAX_PENDING_ROWS: {{ .Values.worker.maxPendingRows | int | quote }}
RATE_LIMIT_PER_MINUTE: {{ .Values.web.rateLimitPerMinute | int | quote }}
RESULT_RETENTION_DAYS: {{ .Values.config.resultRetentionDays | quote }}
RESULT_RETENTION_GIB: {{ .Values.config.resultRetentionGiB | quote }}
DATABASE_GIB: {{ include "stock-backtest.databaseGiB" . | quote }}
RUN_TIMEOUT_SECONDS: {{ .Values.worker.timeoutSeconds | quote }}
IMAGE_PULL_SECONDS: {{ .Values.worker.imagePullSeconds | int | quote }}
UNSCHEDULABLE_SECONDS: {{ .Values.worker.unschedulableSeconds | int | quote }}
QUOTA_SECONDS: {{ .Values.worker.quotaSeconds | int | quote }}
LEASE_SECONDS: {{ .Values.config.leaseSeconds | quote }}
CONTROLLER_POLL_SECONDS: {{ .Values.controller.pollSeconds | quote }}
CONTROLLER_PORT: "8000"
METRICS_DIR: /run/metrics
MAX_BODY_BYTES: {{ .Values.config.maxBodyBytes | int | quote }}
MAX_UPLOAD_BYTES: {{ .Values.config.maxUploadBytes | int | quote }}
PRICE_VENDORS: {{ join "," .Values.prices.vendors | quote }}
PRICE_WRITERS: {{ join "," .Values.web.priceWriters | quote }}
APPLICATION_ROOT: {{ include "stock-backtest.basePath" . | quote }}
PROXY_HOPS: {{ include "stock-backtest.proxyHops" . | quote }}
ALLOWED_HOSTS: {{ include "stock-backtest.allowedHosts" . | quote }}
PRICES_COMMAND: kubectl --namespace {{ .Release.Namespace }} exec -i deploy/{{ include "stock-backtest.fullname" . }}-web -- python scripts/data_loader.py
{{- end }}
