{{/* What no schema can see, each refused with the values to change. */}}
{{- define "stock-backtest.checks" -}}
{{- $v := .Values -}}
{{- include "stock-backtest.checkText" . -}}
{{- if and $v.ingress.enabled $v.httpRoute.enabled -}}
{{- fail "ingress.enabled and httpRoute.enabled are both true: choose the one that your cluster serves" -}}
{{- end -}}
{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
{{- fail "ingress.enabled needs at least one host: --set 'ingress.hosts={backtests.example.org}'" -}}
{{- end -}}
{{- if and $v.httpRoute.enabled (not $v.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs a Gateway: --set 'httpRoute.parentRefs[0].name=my-gateway'" -}}
{{- end -}}
{{- if and (not $v.mysql.enabled) (not $v.externalDatabase.host) -}}
{{- fail "mysql.enabled is false and externalDatabase.host is empty: set the host of your MySQL, or let the chart bring one" -}}
{{- end -}}
{{- if and $v.mysql.enabled $v.externalDatabase.host -}}
{{- fail "externalDatabase.host is set and mysql.enabled is true: set mysql.enabled=false to use your MySQL" -}}
{{- end -}}
{{- if and (not $v.mysql.enabled) (not $v.externalDatabase.existingSecret) (not $v.externalDatabase.password) -}}
{{- fail (include "stock-backtest.databaseSecretNeeded" .) -}}
{{- end -}}
{{- if and (eq $v.externalDatabase.tls.mode "verify") (not $v.externalDatabase.tls.caSecret) -}}
{{- fail "externalDatabase.tls.mode=verify needs externalDatabase.tls.caSecret, a Secret with the certificate authority" -}}
{{- end -}}
{{- if and $v.web.service.nodePort (ne $v.web.service.type "NodePort") -}}
{{- fail "web.service.nodePort needs web.service.type=NodePort" -}}
{{- end -}}
{{- if gt (int $v.web.autoscaling.minReplicas) (int $v.web.autoscaling.maxReplicas) -}}
{{- fail "web.autoscaling.minReplicas is above maxReplicas" -}}
{{- end -}}
{{- if and $v.prices.refresh.enabled (not $v.prices.tickers) -}}
{{- fail "prices.refresh.enabled needs at least one ticker: --set 'prices.tickers={NFLX}'" -}}
{{- end -}}
{{- include "stock-backtest.checkLogin" . -}}
{{- include "stock-backtest.checkConnections" . -}}
{{- end }}

{{/* toYaml answers nothing where it fails, and what was to be written would be missing without a word. */}}
{{- define "stock-backtest.checkText" -}}
{{- if not (toYaml .Values) -}}
{{- fail "a value holds a character that YAML cannot carry, such as the control characters U+007F to U+009F: take it out of your values" -}}
{{- end -}}
{{- end }}

{{/* A process of the web holds one connection a thread and one for probes, a controller two, a worker two (it renews its lease); a sweep has several workers. */}}
{{- define "stock-backtest.checkConnections" -}}
{{- if .Values.mysql.enabled -}}
{{- $web := mul (include "stock-backtest.webReplicas" . | int) .Values.web.workers (add1 .Values.web.threads) -}}
{{- $workers := mul .Values.worker.maxActive .Values.worker.sweepParallelism -}}
{{- $needed := add $web (mul 2 .Values.controller.replicaCount) (mul 2 $workers) 10 -}}
{{- $most := .Subcharts.mysql.Values.config.maxConnections -}}
{{- if gt (int $needed) (int $most) -}}
{{- fail (printf "web, controller and %d workers may need %d connections, mysql.config.maxConnections is %d: raise it, or lower worker.maxActive, worker.sweepParallelism or web.workers" (int $workers) (int $needed) (int $most)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "stock-backtest.databaseSecretNeeded" -}}
{{- with .Values.externalDatabase }}
The external database needs a user and a password. Make a Secret once:

  kubectl create secret generic {{ include "stock-backtest.fullname" $ }}-auth --namespace {{ $.Release.Namespace }} \
    --from-literal={{ .secretKeys.user }}={{ .username }} --from-literal={{ .secretKeys.password }}=...

and install with --set externalDatabase.existingSecret={{ include "stock-backtest.fullname" $ }}-auth
{{ end }}
{{- end }}
