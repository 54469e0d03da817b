{{/* Kubernetes lets no claim template change; its own message says neither what differs nor what to do. */}}
{{- define "mysql.checkClaim" -}}
{{- $name := include "mysql.fullname" . -}}
{{- $live := (lookup "apps/v1" "StatefulSet" .Release.Namespace $name).spec -}}
{{- if $live -}}
{{- $was := dict "storage" "without a claim template" -}}
{{- range $live.volumeClaimTemplates -}}
{{- $was = dict "size" (printf "%s GiB" (include "mysql.gibibytes" .spec.resources.requests.storage)) "storageClass" (.spec.storageClassName | default "") "accessModes" (join "," .spec.accessModes) -}}
{{- end -}}
{{- $now := dict "storage" "without a claim template" -}}
{{- with .Values.persistence -}}
{{- if and .enabled (not .existingClaim) -}}
{{- $now = dict "size" (printf "%s GiB" (include "mysql.gibibytes" .size)) "storageClass" (.storageClass | trimPrefix "-") "accessModes" (join "," .accessModes) -}}
{{- end -}}
{{- end -}}
{{- if ne (toJson $was) (toJson $now) -}}
{{- fail (printf "\nThe values under %s ask for %s, StatefulSet %s was made with %s, and Kubernetes lets that not change.\nMake the volume claim what it shall be (to grow it: kubectl edit pvc data-%s-0), then run\n  kubectl --namespace %s delete statefulset %s --cascade=orphan\nwhich keeps pod and data, and upgrade again.\n" (include "mysql.value" (dict "root" . "name" "persistence")) (toJson $now) $name (toJson $was) $name .Release.Namespace $name) -}}
{{- end -}}
{{- end -}}
{{- end }}
