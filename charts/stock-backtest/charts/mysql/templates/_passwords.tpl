{{/* The value, else the one in the cluster, else a new one. Takes root, value and key. */}}
{{- define "mysql.password" -}}
{{- if .value -}}
{{- .value -}}
{{- else -}}
{{- $name := include "mysql.secretName" .root -}}
{{- $live := lookup "v1" "Secret" .root.Release.Namespace $name -}}
{{- if $live -}}
{{- index ($live.data | default dict) .key | required (printf "Secret %s has no key %s: generating a new password would lock the application out of its data" $name .key) | b64dec -}}
{{- else if include "mysql.cluster" .root -}}
{{- randAlphaNum 24 -}}
{{- else -}}
{{- fail (include "mysql.secretNeeded" .root) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Says true when a cluster answers: without one every lookup is empty, and a password generated then would be another
at each render. The release's own namespace is asked first, as its users may not read others. */}}
{{- define "mysql.cluster" -}}
{{- if or (lookup "v1" "Namespace" "" .Release.Namespace) (lookup "v1" "Namespace" "" "kube-system") }}true{{ end -}}
{{- end }}

{{- define "mysql.secretNeeded" -}}
{{- $keys := .Values.auth.secretKeys -}}
{{- $name := printf "%s-auth" (include "mysql.fullname" .) }}
The database needs passwords, and without a cluster the chart can neither read nor keep them. Make a Secret once:

  kubectl create secret generic {{ $name }} --namespace {{ .Release.Namespace }} \
    --from-literal={{ $keys.user }}={{ .Values.auth.username }} \
    --from-literal={{ $keys.password }}="$(openssl rand -hex 16)" \
    --from-literal={{ $keys.rootPassword }}="$(openssl rand -hex 16)"

and render with

  --set {{ include "mysql.value" (dict "root" . "name" "auth.existingSecret") }}={{ $name }}
{{ end }}
