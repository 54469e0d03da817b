{{/* The Job of a run, with `worker.jobOverrides` laid over it. */}}
{{- define "stock-backtest.workerJob" -}}
{{- include "stock-backtest.checkText" . -}}
{{- $plain := include "stock-backtest.plainJob" . | fromYaml -}}
{{- $job := mustMergeOverwrite (deepCopy $plain) (deepCopy .Values.worker.jobOverrides) -}}
{{- include "stock-backtest.checkJob" (dict "job" $job "plain" $plain) -}}
{{- toYaml $job -}}
{{- end }}

{{/* What the controller relies on. */}}
{{- define "stock-backtest.checkJob" -}}
{{- $why := "worker.jobOverrides breaks the Job that runs are made from: " -}}
{{- $pod := .job.spec.template.spec -}}
{{- $names := list -}}
{{- range $pod.containers }}{{ $names = append $names .name }}{{ end -}}
{{- if not (has "worker" $names) }}{{ fail (printf "%sno container is named worker, only %s" $why (join ", " $names)) }}{{ end -}}
{{- if ne (toString $pod.restartPolicy) "Never" }}{{ fail (printf "%srestartPolicy must be Never" $why) }}{{ end -}}
{{- if ne .job.kind "Job" }}{{ fail (printf "%skind must be Job" $why) }}{{ end -}}
{{- $ttl := .job.spec.ttlSecondsAfterFinished -}}
{{- if or (kindIs "invalid" $ttl) (lt (int $ttl) 600) }}{{ fail (printf "%sttlSecondsAfterFinished must be at least 600" $why) }}{{ end -}}
{{- $labels := merge (dict) .plain.metadata.labels -}}
{{- range $metadata := list .job.metadata .job.spec.template.metadata -}}
{{- range $name, $value := $labels -}}
{{- if ne (toString (get $metadata.labels $name)) $value }}{{ fail (printf "%sthe label %s must stay %s" $why $name $value) }}{{ end -}}
{{- end -}}
{{- $labels = omit $labels "kueue.x-k8s.io/queue-name" -}}
{{- end -}}
{{- $deadline := .job.spec.activeDeadlineSeconds | int -}}
{{- $tries := mul (add1 (.job.spec.backoffLimit | int)) ($pod.activeDeadlineSeconds | int) -}}
{{- if lt $deadline (add 60 $tries | int) }}{{ fail (printf "%sactiveDeadlineSeconds %d leaves no time for every try of a pod" $why $deadline) }}{{ end -}}
{{- end }}

{{/* Job deadline: a place to run, an image, every try, and some time to end in. */}}
{{- define "stock-backtest.plainJob" -}}
{{- $w := .Values.worker -}}
{{- $image := include "stock-backtest.image" (dict "root" . "image" $w.image) -}}
{{- $soon := list -}}
{{- range list "not-ready" "unreachable" -}}
{{- $soon = append $soon (dict "key" (printf "node.kubernetes.io/%s" .) "operator" "Exists" "effect" "NoExecute" "tolerationSeconds" 30) -}}
{{- end -}}
{{- $env := list (dict "name" "IMAGE" "value" $image) -}}
{{- with .Values.prices.httpsProxy -}}
{{- $env = append $env (dict "name" "HTTPS_PROXY" "value" .) -}}
{{- end -}}
{{- $this := dict "root" . "component" "worker" "values" $w "tolerations" $soon "env" $env -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: bt-
  labels:
    {{- include "stock-backtest.selectorLabels" $this | nindent 4 }}
    app.kubernetes.io/part-of: stock-backtest
    app.kubernetes.io/managed-by: stock-backtest
    {{- with $w.kueueQueue }}
    kueue.x-k8s.io/queue-name: {{ . | quote }}
    {{- end }}
spec:
  {{- if $w.kueueQueue }}
  # Kueue starts it.
  suspend: true
  {{- end }}
  # A backtest has one pod; of a sweep, which has an index for each shard, so many work at once.
  completions: 1
  parallelism: {{ $w.sweepParallelism }}
  backoffLimit: {{ $w.backoffLimit }}
  ttlSecondsAfterFinished: {{ $w.ttlSecondsAfterFinished }}
  activeDeadlineSeconds: {{ add $w.unschedulableSeconds $w.imagePullSeconds 60 (mul (add1 $w.backoffLimit) $w.timeoutSeconds) }}
  podFailurePolicy:
    rules:
      # Drained, evicted, preempted: nobody's fault, another pod.
      - action: Ignore
        onPodConditions:
          - type: DisruptionTarget
            status: "True"
      # Bad input, no prices, an engine that fails: another try gives the same.
      - action: FailJob
        onExitCodes:
          containerName: worker
          operator: In
          values: [64, 65, 70]
  template:
    metadata:
      labels:
        {{- include "stock-backtest.podLabels" $this | nindent 8 }}
        app.kubernetes.io/managed-by: stock-backtest
      {{- with $w.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "stock-backtest.pod" $this | nindent 6 }}
      restartPolicy: Never
      activeDeadlineSeconds: {{ $w.timeoutSeconds }}
      containers:
        - name: worker
          image: {{ $image | quote }}
          imagePullPolicy: {{ $w.image.pullPolicy }}
          {{- include "stock-backtest.container" $this | nindent 10 }}
      volumes:
        {{- include "stock-backtest.volumes" . | nindent 8 }}
{{- end }}
