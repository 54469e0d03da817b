{{/* What every pod spec of ours has in common. Takes root, component and values; `tolerations` adds some. */}}
{{- define "stock-backtest.pod" -}}
serviceAccountName: {{ include "stock-backtest.serviceAccountName" . | quote }}
automountServiceAccountToken: {{ eq .component "controller" }}
enableServiceLinks: false
{{- with concat (.root.Values.imagePullSecrets | default list) ((.root.Values.global).imagePullSecrets | default list) }}
imagePullSecrets:
  {{- toYaml (uniq .) | nindent 2 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat (.tolerations | default list) (.values.tolerations | default list) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- range $name, $id := .root.Values.podSecurityContext }}
  {{- if not (kindIs "invalid" $id) }}
  {{ $name }}: {{ int64 $id }}
  {{- end }}
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* How a Deployment replaces its pods. Kubernetes refuses numbers of a rolling update beside Recreate. */}}
{{- define "stock-backtest.strategy" -}}
{{- $numbers := printf "%v %v" .rollingUpdate.maxUnavailable .rollingUpdate.maxSurge | replace "%" "" -}}
{{- if and (eq .type "RollingUpdate") (eq $numbers "0 0") -}}
{{- fail "strategy.rollingUpdate: maxUnavailable and maxSurge are both 0, so that no pod could ever be replaced: set one of them to 1" -}}
{{- end -}}
type: {{ .type }}
{{- if eq .type "RollingUpdate" }}
rollingUpdate:
  {{- toYaml .rollingUpdate | nindent 2 }}
{{- end }}
{{- end }}

{{- define "stock-backtest.spread" -}}
topologySpreadConstraints:
  {{- if .values.topologySpreadConstraints }}
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "stock-backtest.selectorLabels" . | nindent 8 }}
  {{- end }}
{{- end }}

{{/* What every container of ours has in common. Takes root, values, and `env`: the container's own variables. */}}
{{- define "stock-backtest.container" -}}
# A failure shows its last lines in `kubectl describe pod`, and so at the run.
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
envFrom:
  - configMapRef:
      name: {{ include "stock-backtest.configName" .root }}
{{- /* Not in the ConfigMap, which changes before the pods do: a rollback takes the file away with the pod alone. */}}
{{- $user := dict "name" "DB_USER_FILE" "value" "/run/secrets/database/user" -}}
{{- $variables := concat (list $user) (.env | default list) (.values.extraEnv | default list) -}}
{{- $names := list -}}
{{- range $variables -}}
{{- if has .name $names }}{{ fail (printf "extraEnv sets %s, which the chart or another entry sets too: a container may have each name once" .name) }}{{ end -}}
{{- $names = append $names .name -}}
{{- end }}
env:
  {{- toYaml $variables | nindent 2 }}
resources:
  {{- toYaml .values.resources | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- include "stock-backtest.databaseMounts" .root | nindent 2 }}
{{- end }}

{{- define "stock-backtest.volumes" -}}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{ include "stock-backtest.databaseVolumes" . }}
{{- end }}

{{/* Brings the schema up to date; any number of pods at once, they wait for each other in the database. */}}
{{- define "stock-backtest.migrate" -}}
- name: migrate
  image: {{ include "stock-backtest.image" (dict "root" .root "image" .root.Values.web.image) | quote }}
  imagePullPolicy: {{ .root.Values.web.image.pullPolicy }}
  command: [python, -m, service.store.migrate]
  {{- include "stock-backtest.container" . | nindent 2 }}
{{- end }}
