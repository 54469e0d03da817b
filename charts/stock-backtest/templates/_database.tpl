{{/* Where the database is, the same for web, controller, prices and workers: the subchart's or your own. */}}
{{- define "stock-backtest.database" -}}
{{- if .Values.mysql.enabled -}}
{{- $mysql := .Subcharts.mysql -}}
{{- $auth := $mysql.Values.auth -}}
host: {{ include "mysql.fullname" $mysql | quote }}
port: 3306
name: {{ $auth.database | quote }}
secret: {{ include "mysql.secretName" $mysql | quote }}
userKey: {{ $auth.secretKeys.user | quote }}
passwordKey: {{ $auth.secretKeys.password | quote }}
tls: preferred
ca: ""
{{- else -}}
{{- with .Values.externalDatabase -}}
host: {{ .host | quote }}
port: {{ .port }}
name: {{ .name | quote }}
secret: {{ .existingSecret | default (printf "%s-database" (include "stock-backtest.fullname" $)) | quote }}
userKey: {{ .secretKeys.user | quote }}
passwordKey: {{ .secretKeys.password | quote }}
tls: {{ .tls.mode }}
ca: {{ .tls.caSecret | quote }}
caKey: {{ .tls.caKey | quote }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* GiB that the database has room for: the value, or the claim that the subchart makes; 0 where neither is known. */}}
{{- define "stock-backtest.databaseGiB" -}}
{{- $claim := .Values.mysql.persistence | default dict -}}
{{- $is_ours := and .Values.mysql.enabled $claim.enabled (not $claim.existingClaim) -}}
{{- if .Values.config.databaseGiB -}}
{{ .Values.config.databaseGiB }}
{{- else if $is_ours -}}
{{ include "mysql.gibibytes" $claim.size }}
{{- else -}}
0
{{- end -}}
{{- end }}

{{/* Data of the Secret that the chart makes for your own MySQL; nothing where it makes none. */}}
{{- define "stock-backtest.databaseSecret" -}}
{{- with .Values.externalDatabase -}}
{{- if and (not $.Values.mysql.enabled) (not .existingSecret) -}}
{{ .secretKeys.user | quote }}: {{ .username | b64enc }}
{{ .secretKeys.password | quote }}: {{ .password | b64enc }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "stock-backtest.databaseMounts" -}}
{{- $database := include "stock-backtest.database" . | fromYaml -}}
- name: database
  mountPath: /run/secrets/database
  readOnly: true
{{- if $database.ca }}
- name: database-ca
  mountPath: /run/secrets/database-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "stock-backtest.databaseVolumes" -}}
{{- $database := include "stock-backtest.database" . | fromYaml -}}
- name: database
  secret:
    secretName: {{ $database.secret | quote }}
    defaultMode: 0440
    items:
      - key: {{ $database.userKey | quote }}
        path: user
      - key: {{ $database.passwordKey | quote }}
        path: password
{{- if $database.ca }}
- name: database-ca
  secret:
    secretName: {{ $database.ca | quote }}
    defaultMode: 0440
    items:
      - key: {{ $database.caKey | quote }}
        path: ca.crt
{{- end }}
{{- end }}
