{{- define "mysql.backupSelectorLabels" -}}
{{ include "mysql.selectorLabels" . | replace "component: mysql" "component: backup" }}
{{- end }}

{{- define "mysql.backupLabels" -}}
{{ include "mysql.labels" . | replace "component: mysql" "component: backup" }}
{{- end }}

{{/* What a backup's Job is, at night and at once. */}}
{{- define "mysql.backupJob" -}}
backoffLimit: 2
activeDeadlineSeconds: {{ .Values.backup.timeoutSeconds }}
template:
  metadata:
    labels:
      {{- include "mysql.backupSelectorLabels" . | nindent 6 }}
      app.kubernetes.io/part-of: stock-backtest
      stock-backtest/database-client: "true"
    {{- with merge (deepCopy (.Values.backup.podAnnotations | default dict)) (.Values.podAnnotations | default dict) }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    {{- include "mysql.podCommons" . | nindent 4 }}
    restartPolicy: Never
    containers:
      - {{ include "mysql.backupContainer" . | nindent 8 | trim }}
    volumes:
      - name: backups
        persistentVolumeClaim:
          claimName: {{ .Values.backup.persistence.existingClaim | default (printf "%s-backup" (include "mysql.fullname" .)) | quote }}
      - name: scripts
        configMap:
          name: {{ include "mysql.fullname" . }}-backup
      - name: secret
        secret:
          secretName: {{ include "mysql.secretName" . | quote }}
          defaultMode: 0440
          items:
            - key: {{ .Values.auth.secretKeys.password | quote }}
              path: {{ .Values.auth.secretKeys.password | quote }}
{{- end }}

{{- define "mysql.backupContainer" -}}
name: backup
image: {{ include "mysql.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command: [bash, /scripts/backup.sh]
terminationMessagePolicy: FallbackToLogsOnError
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
env:
  {{- include "mysql.clientEnv" . | nindent 2 }}
  - name: DB_HOST
    value: {{ include "mysql.fullname" . | quote }}
  - name: KEEP
    value: {{ .Values.backup.keep | quote }}
resources:
  {{- toYaml .Values.backup.resources | nindent 2 }}
volumeMounts:
  - name: backups
    mountPath: /backups
    # A folder of its own: several releases may share a claim, and volumes bring a lost+found.
    subPath: {{ include "mysql.fullname" . | quote }}
  - name: scripts
    mountPath: /scripts
  - name: secret
    mountPath: /run/secrets/mysql
{{- end }}
