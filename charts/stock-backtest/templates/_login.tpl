{{/* The files of the login that the mode reads: name of the setting to key in the Secret. A key without a name is left out. */}}
{{- define "stock-backtest.loginKeys" -}}
{{- $keys := .Values.auth.secretKeys -}}
{{- if and (eq .Values.auth.mode "basic") $keys.users }}
AUTH_USERS: {{ $keys.users | quote }}
{{- end }}
{{- if and (ne .Values.auth.mode "none") $keys.tokens }}
AUTH_TOKENS: {{ $keys.tokens | quote }}
{{- end }}
{{- if eq .Values.auth.mode "proxy-header" }}
AUTH_PROXY_SECRET: {{ $keys.proxySecret | quote }}
{{- end }}
{{- end }}

{{/* Variables of the web alone: with AUTH_MODE and without its files no other program would start. */}}
{{- define "stock-backtest.loginEnv" -}}
{{- if ne .Values.auth.mode "none" -}}
- name: AUTH_MODE
  value: {{ .Values.auth.mode }}
{{- if eq .Values.auth.mode "proxy-header" }}
- name: AUTH_PROXY_HEADER
  value: {{ .Values.auth.proxyHeader | quote }}
{{- end }}
{{- range $name, $_ := include "stock-backtest.loginKeys" . | fromYaml }}
- name: {{ $name }}_FILE
  value: /run/secrets/login/{{ $name }}
{{- end }}
{{- end -}}
{{- end }}

{{- define "stock-backtest.loginMount" -}}
- name: login
  mountPath: /run/secrets/login
  readOnly: true
{{- end }}

{{- define "stock-backtest.loginVolume" -}}
- name: login
  secret:
    secretName: {{ .Values.auth.existingSecret | quote }}
    defaultMode: 0440
    items:
      {{- range $name, $key := include "stock-backtest.loginKeys" . | fromYaml }}
      - key: {{ $key | quote }}
        path: {{ $name }}
      {{- end }}
{{- end }}

{{/* Each mode has what it needs, and nothing is there that no mode reads. */}}
{{- define "stock-backtest.checkLogin" -}}
{{- $auth := .Values.auth -}}
{{- $keys := $auth.secretKeys -}}
{{- if eq $auth.mode "none" -}}
{{- if $auth.existingSecret }}{{ fail "auth.existingSecret is set and auth.mode is none, so anybody would get in: set auth.mode=basic or proxy-header" }}{{ end -}}
{{- else -}}
{{- if not $auth.existingSecret }}{{ fail (include "stock-backtest.loginSecretNeeded" .) }}{{ end -}}
{{- if and (eq $auth.mode "basic") (not $keys.users) (not $keys.tokens) -}}
{{- fail "auth.mode=basic lets nobody in: name a key of the Secret in auth.secretKeys.users or auth.secretKeys.tokens" -}}
{{- end -}}
{{- if and (eq $auth.mode "proxy-header") (not $keys.proxySecret) -}}
{{- fail "auth.mode=proxy-header needs auth.secretKeys.proxySecret: without what only the proxy knows, anybody could say who he is" -}}
{{- end -}}
{{- if and $keys.testToken (not $keys.tokens) -}}
{{- fail "auth.secretKeys.testToken needs auth.secretKeys.tokens, which has the line of that token" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not (and .Values.serviceMonitor.tokenSecret.name $keys.tokens)) -}}
{{- fail "serviceMonitor.enabled with a login needs a token: its line at the key auth.secretKeys.tokens, the token itself in the Secret serviceMonitor.tokenSecret.name" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "stock-backtest.loginSecretNeeded" -}}
{{- $name := printf "%s-login" (include "stock-backtest.fullname" .) -}}
{{- $keys := .Values.auth.secretKeys -}}
auth.mode={{ .Values.auth.mode }} needs a Secret that says who gets in. Make it once:
{{ if eq .Values.auth.mode "basic" }}
  python -m scripts.make_login alice >users      # a line for each user; asks for the password
  kubectl create secret generic {{ $name }} --namespace {{ .Release.Namespace }} --from-file={{ $keys.users | default "AUTH_USERS" }}=users
{{- else }}
  kubectl create secret generic {{ $name }} --namespace {{ .Release.Namespace }} \
    --from-literal={{ $keys.proxySecret | default "AUTH_PROXY_SECRET" }}="$(openssl rand -hex 16)"
{{- end }}

and install with --set auth.existingSecret={{ $name }}
{{ end }}
