{{/* What the server's pod and that of a backup have in common. */}}
{{- define "mysql.podCommons" -}}
serviceAccountName: {{ include "mysql.fullname" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with concat (.Values.imagePullSecrets | default list) ((.Values.global).imagePullSecrets | default list) }}
imagePullSecrets:
  {{- toYaml (uniq .) | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- range $name, $id := .Values.podSecurityContext }}
  {{- if not (kindIs "invalid" $id) }}
  {{ $name }}: {{ int64 $id }}
  {{- end }}
  {{- end }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- define "mysql.pod" -}}
{{ include "mysql.podCommons" . }}
terminationGracePeriodSeconds: 120
containers:
  - {{ include "mysql.container" . | nindent 4 | trim }}
volumes:
  {{- include "mysql.volumes" . | nindent 2 }}
{{- end }}

{{- define "mysql.container" -}}
name: mysql
image: {{ include "mysql.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [bash, /scripts/start.sh]
# A refused start shows its reason in `kubectl describe pod`.
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
ports:
  - name: mysql
    containerPort: 3306
    protocol: TCP
env:
  {{- include "mysql.env" . | nindent 2 }}
  {{- include "mysql.extraEnv" . | nindent 2 }}
{{- include "mysql.probes" . }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - name: data
    mountPath: /var/lib/mysql
    subPath: {{ .Values.persistence.subPath | quote }}
  - name: data
    mountPath: /var/lib/mysql-state
    subPath: {{ .Values.persistence.subPath }}-state
  - name: config
    mountPath: /etc/mysql/conf.d
  - name: scripts
    mountPath: /scripts
  - name: initdb
    mountPath: /docker-entrypoint-initdb.d
  - name: secret
    mountPath: /run/secrets/mysql
  - name: run
    mountPath: /var/run/mysqld
  - name: tmp
    mountPath: /tmp
{{- end }}

{{/* What a client needs to log in as the application's user. */}}
{{- define "mysql.clientEnv" -}}
- name: MYSQL_DATABASE
  value: {{ .Values.auth.database | quote }}
- name: MYSQL_USER
  valueFrom:
    secretKeyRef:
      name: {{ include "mysql.secretName" . | quote }}
      key: {{ .Values.auth.secretKeys.user | quote }}
- name: MYSQL_PASSWORD_FILE
  value: /run/secrets/mysql/{{ .Values.auth.secretKeys.password }}
{{- end }}

{{- define "mysql.env" -}}
{{- $keys := .Values.auth.secretKeys -}}
{{- $pod := printf "pod %s-0" (include "mysql.fullname" .) -}}
{{- $claim := include "mysql.claim" . -}}
{{- $delete := printf "kubectl --namespace %s delete" .Release.Namespace -}}
{{ include "mysql.clientEnv" . }}
- name: MYSQL_ROOT_PASSWORD_FILE
  value: /run/secrets/mysql/{{ $keys.rootPassword }}
- name: MYSQL_ROOT_HOST
  value: localhost
# What start.sh says when it refuses.
- name: SECRET_NAME
  value: {{ include "mysql.secretName" . | quote }}
- name: TRUST_EXISTING_DATA
  value: {{ .Values.persistence.trustExistingData | quote }}
- name: TRUST_VALUE
  value: {{ include "mysql.value" (dict "root" . "name" "persistence.trustExistingData") }}
- name: STORAGE
  value: {{ $claim | empty | ternary $pod (printf "volume claim %s" $claim) }}
- name: BEGIN_AGAIN
  {{- if not $claim }}
  value: {{ printf "%s %s" $delete $pod }}
  {{- else if .Values.persistence.existingClaim }}
  value: {{ printf "empty its folder %s, then %s %s" .Values.persistence.subPath $delete $pod }}
  {{- else }}
  value: {{ printf "%s pvc %s --wait=false && %s %s" $delete $claim $delete $pod }}
  {{- end }}
{{- end }}

{{- define "mysql.extraEnv" -}}
{{- $own := include "mysql.env" . -}}
{{- range .Values.extraEnv -}}
{{- if contains (printf "- name: %s\n" .name) $own -}}
{{- fail (printf "%s: the chart sets %s itself" (include "mysql.value" (dict "root" $ "name" "extraEnv")) .name) -}}
{{- end -}}
{{- end -}}
{{- with .Values.extraEnv }}{{ toYaml . }}{{ end -}}
{{- end }}

{{/* All by TCP: the socket also answers while the first start initialises. Ready is what the application can use; ping is
content with any answer, a refused login too, and no transaction blocks it. */}}
{{- define "mysql.probes" }}
startupProbe:
  exec:
    command: [bash, /scripts/client.sh, mysqladmin, ping]
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 120
readinessProbe:
  exec:
    command: [bash, /scripts/ready.sh]
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  exec:
    command: [bash, /scripts/client.sh, mysqladmin, ping]
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{- define "mysql.volumes" -}}
{{- if not .Values.persistence.enabled -}}
- name: data
  emptyDir:
    sizeLimit: {{ .Values.persistence.size }}
{{ else if .Values.persistence.existingClaim -}}
- name: data
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim | quote }}
{{ end -}}
- name: config
  configMap:
    name: {{ include "mysql.fullname" . | quote }}
    items:
      - key: my.cnf
        path: stock-backtest.cnf
- name: scripts
  configMap:
    name: {{ include "mysql.fullname" . | quote }}
    items:
      - key: start.sh
        path: start.sh
      - key: client.sh
        path: client.sh
      - key: ready.sh
        path: ready.sh
- name: initdb
  configMap:
    name: {{ include "mysql.fullname" . }}-initdb
- name: secret
  secret:
    secretName: {{ include "mysql.secretName" . | quote }}
    defaultMode: 0440
    items:
      - key: {{ .Values.auth.secretKeys.password | quote }}
        path: {{ .Values.auth.secretKeys.password | quote }}
      - key: {{ .Values.auth.secretKeys.rootPassword | quote }}
        path: {{ .Values.auth.secretKeys.rootPassword | quote }}
- name: run
  emptyDir:
    sizeLimit: 16Mi
- name: tmp
  emptyDir:
    sizeLimit: 512Mi
{{- end }}
