{{/* The gateway's settings as its environment, as JSON: {"env": [...]}. */}}
{{- define "nephra.gatewayEnv" -}}
{{- $values := .Values.gateway -}}
{{- $predictors := dict -}}
{{- range (include "nephra.predictors" . | fromJson).names -}}
{{- $_ := set $predictors . (printf "http://%s-%s-predictor.%s" (include "nephra.fullname" $) . $.Release.Namespace) -}}
{{- end -}}
{{- $env := list
      (dict "name" "NEPHRA_HOST" "value" "0.0.0.0")
      (dict "name" "NEPHRA_PORT" "value" "8080")
      (dict "name" "NEPHRA_METRICS_PORT" "value" "9090")
      (dict "name" "NEPHRA_PREDICTORS" "value" (merge (dict) $predictors $values.extraPredictors | toJson))
      (dict "name" "NEPHRA_AUTH" "value" .Values.auth.mode)
      (dict "name" "NEPHRA_RETRY_S" "value" (toString (int64 $values.retrySeconds)))
      (dict "name" "NEPHRA_OPERATION_S" "value" (toString (int64 $values.operationSeconds)))
      (dict "name" "NEPHRA_DRAIN_S" "value" (toString (int64 $values.drainSeconds)))
      (dict "name" "NEPHRA_LIMITS" "value" (include "nephra.limits" .))
      (dict "name" "NEPHRA_TICKETS_AT_ONCE" "value" (toString (int64 .Values.tickets.atOnce)))
      (dict "name" "NEPHRA_LEASE_S" "value" (toString (int64 .Values.tickets.leaseSeconds)))
      (dict "name" "NEPHRA_KEEP_TICKETS_S" "value" (toString (int64 .Values.tickets.keepSeconds)))
      (dict "name" "NEPHRA_CACHE_UNUSED_S" "value" (toString (int64 .Values.cache.unusedSeconds)))
      (dict "name" "NEPHRA_CACHE_MAX_BYTES" "value" (include "nephra.bytes" .Values.cache.maxGiB))
      (dict "name" "NEPHRA_MAX_UPLOAD_BYTES" "value" (include "nephra.bytes" .Values.uploads.maxGiB))
      (dict "name" "NEPHRA_RATE_PER_S" "value" (toString .Values.auth.rateLimit.perSecond))
      (dict "name" "NEPHRA_RATE_BURST" "value" (toString (int64 .Values.auth.rateLimit.burst)))
      (dict "name" "NEPHRA_CORS_ORIGINS" "value" (toJson .Values.auth.corsOrigins))
      (dict "name" "NEPHRA_WEBHOOK_HOSTS" "value" (toJson .Values.webhooks.hosts))
      (dict "name" "NEPHRA_WEBHOOK_PRIVATE" "value" (toString .Values.webhooks.private)) -}}
{{- if .Values.database.existingSecret -}}
{{- $env = append $env (include "nephra.database" . | fromJson) -}}
{{- end -}}
{{- dict "env" $env | toJson -}}
{{- end -}}

{{/* The variable with PostgreSQL's URL, as JSON. */}}
{{- define "nephra.database" -}}
{{- $key := dict "name" .Values.database.existingSecret "key" .Values.database.key -}}
{{- dict "name" "NEPHRA_DATABASE" "valueFrom" (dict "secretKeyRef" $key) | toJson -}}
{{- end -}}

{{/* How many requests each predictor is given at once: more than nnunet's pods work on would only wait there, in no order. */}}
{{- define "nephra.limits" -}}
{{- $limits := dict -}}
{{- if .Values.nnunet.enabled -}}
{{- $scaling := .Values.nnunet.autoscaling -}}
{{- $most := ternary $scaling.minReplicas $scaling.maxReplicas (eq $scaling.mode "none") -}}
{{- $_ := set $limits "nnunet" (mul (int64 $most) (int64 .Values.nnunet.concurrency)) -}}
{{- end -}}
{{- range $name, $limit := .Values.tickets.limits -}}
{{- $_ := set $limits $name (int64 $limit) -}}
{{- end -}}
{{- toJson $limits -}}
{{- end -}}

{{/* GiB in bytes. */}}
{{- define "nephra.bytes" -}}
{{- toString (mul (int64 .) 1073741824) -}}
{{- end -}}
