{{/* Values that are each right and together impossible, refused in a sentence before anything is installed. */}}
{{- define "nephra.refuse" -}}
{{- if and (eq .Values.auth.mode "none") .Values.auth.existingSecret -}}
{{- fail "auth.existingSecret has no use with auth.mode none: leave one of them out." -}}
{{- end -}}
{{- if and (eq .Values.auth.mode "none") (or .Values.ingress.enabled .Values.httpRoute.enabled) (not .Values.auth.exposeWithoutToken) -}}
{{- fail "auth.mode none behind an Ingress or an HTTPRoute lets everybody in: use bearer, or set auth.exposeWithoutToken." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.enabled needs ingress.host; '*' takes every host." -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.ingress.tls.enabled (not .Values.ingress.tls.secretName) -}}
{{- fail "ingress.tls.enabled needs ingress.tls.secretName, the Secret with the certificate." -}}
{{- end -}}
{{- if and .Values.ingress.enabled .Values.ingress.tls.enabled (eq .Values.ingress.host "*") -}}
{{- fail "ingress.tls needs a host of its own, '*' has no certificate." -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs, the Gateways that shall lead here." -}}
{{- end -}}
{{- range $name := list "serviceMonitor" "prometheusRule" -}}
{{- if and (index $.Values.monitoring $name).enabled $.Values.networkPolicy.enabled (not $.Values.networkPolicy.scrapeFrom) -}}
{{- fail (printf "monitoring.%s needs networkPolicy.scrapeFrom, or no Prometheus reaches the metrics." $name) -}}
{{- end -}}
{{- end -}}
{{- range $name := (include "nephra.predictors" . | fromJson).names -}}
{{- if hasKey $.Values.gateway.extraPredictors $name -}}
{{- fail (printf "gateway.extraPredictors names %s, which the chart installs itself: take another name, or set %s.enabled=false." $name $name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.gateway.extraPredictors .Values.networkPolicy.enabled (not .Values.networkPolicy.gatewayTo) -}}
{{- fail "gateway.extraPredictors needs networkPolicy.gatewayTo, or the gateway cannot reach them." -}}
{{- end -}}
{{- if and .Values.predictors.public (ne .Values.predictors.kind "InferenceService") -}}
{{- fail "predictors.public needs predictors.kind InferenceService: only KServe makes routes for predictors." -}}
{{- end -}}
{{- include "nephra.refuseReplicas" . -}}
{{- include "nephra.refuseDatabase" . -}}
{{- include "nephra.refuseClaim" . -}}
{{- end -}}

{{/* Tickets, who is told of them, and where traces go. */}}
{{- define "nephra.refuseDatabase" -}}
{{- $policy := .Values.networkPolicy -}}
{{- if and (gt (int .Values.gateway.replicas) 1) (not .Values.database.existingSecret) -}}
{{- fail "gateway.replicas above 1 need database.existingSecret, the URL of a PostgreSQL: without it tickets are in an SQLite file, which is one gateway's." -}}
{{- end -}}
{{- if and .Values.database.existingSecret $policy.enabled (not $policy.database.to) -}}
{{- fail "database.existingSecret needs networkPolicy.database.to, or the gateway cannot reach PostgreSQL." -}}
{{- end -}}
{{- if and .Values.webhooks.hosts (not .Values.webhooks.existingSecret) -}}
{{- fail "webhooks.hosts needs webhooks.existingSecret, by which those who are called know that it is nephra." -}}
{{- end -}}
{{- if and .Values.webhooks.hosts $policy.enabled (not $policy.webhooks.to) -}}
{{- fail "webhooks.hosts needs networkPolicy.webhooks.to, or the gateway cannot reach them." -}}
{{- end -}}
{{- if and .Values.tracing.endpoint $policy.enabled (not $policy.tracing.to) -}}
{{- fail "tracing.endpoint needs networkPolicy.tracing.to, or nobody can reach the collector." -}}
{{- end -}}
{{- range $name, $_ := .Values.tickets.limits -}}
{{- if not (or (has $name (include "nephra.predictors" $ | fromJson).names) (hasKey $.Values.gateway.extraPredictors $name)) -}}
{{- fail (printf "tickets.limits names %s, which is no predictor of this release." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "nephra.refuseReplicas" -}}
{{- range $name := (include "nephra.predictors" . | fromJson).names -}}
{{- $scaling := (index $.Values $name).autoscaling -}}
{{- if and (ne $scaling.mode "none") (lt (int $scaling.maxReplicas) (int $scaling.minReplicas)) -}}
{{- fail (printf "%s.autoscaling.maxReplicas %v is less than minReplicas %v." $name $scaling.maxReplicas $scaling.minReplicas) -}}
{{- end -}}
{{- if and (eq $scaling.mode "keda") (eq $.Values.predictors.kind "InferenceService") -}}
{{- range $scaling.keda.triggers -}}
{{- if has .type (list "cpu" "memory") -}}
{{- fail (printf "%s.autoscaling.keda.triggers of type %s are not possible with InferenceServices: KEDA refuses them until KServe has made the Deployment; without triggers KServe scales by CPU." $name .type) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (eq $scaling.mode "keda") (eq (include "nephra.kedaBy" $scaling) "requests") $.Values.networkPolicy.enabled (not $.Values.networkPolicy.scrapeFrom) -}}
{{- fail (printf "%s.autoscaling.keda.prometheusAddress needs networkPolicy.scrapeFrom, or that Prometheus reads no metrics to scale by." $name) -}}
{{- end -}}
{{- if eq (int $scaling.minReplicas) 0 -}}
{{- if eq $scaling.mode "hpa" -}}
{{- fail (printf "%s.autoscaling.minReplicas 0 is not possible with mode hpa: without a pod there is no CPU to measure." $name) -}}
{{- else if eq $scaling.mode "none" -}}
{{- fail (printf "%s.autoscaling.minReplicas 0 with mode none never starts a pod: use %s.enabled=false." $name $name) -}}
{{- else if and (eq $scaling.mode "keda") (not $scaling.keda.triggers) -}}
{{- fail (printf "%s.autoscaling.minReplicas 0 needs keda.triggers of yours: without a pod the chart's own see nothing." $name) -}}
{{- end -}}
{{- end -}}
{{- if and $.Values.predictors.public (gt (len (printf "%s-%s-%s" (include "nephra.fullname" $) $name $.Release.Namespace)) 63) -}}
{{- fail (printf "predictors.public needs shorter names: KServe's host of %s would begin with more than 63 characters; set fullnameOverride." $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A claim that one node, or one pod, can mount. */}}
{{- define "nephra.refuseClaim" -}}
{{- if has "ReadWriteOncePod" .Values.persistence.accessModes -}}
{{- fail "persistence.accessModes ReadWriteOncePod lets a single pod mount the claim, which gateway and predictors share: use ReadWriteMany, or ReadWriteOnce on one node." -}}
{{- end -}}
{{- if not (has "ReadWriteMany" .Values.persistence.accessModes) -}}
{{- if gt (int .Values.gateway.replicas) 1 -}}
{{- fail "gateway.replicas above 1 need persistence.accessModes ReadWriteMany." -}}
{{- end -}}
{{- range $name := (include "nephra.predictors" . | fromJson).names -}}
{{- $scaling := (index $.Values $name).autoscaling -}}
{{- $most := ternary $scaling.minReplicas $scaling.maxReplicas (eq $scaling.mode "none") -}}
{{- if gt (int $most) 1 -}}
{{- fail (printf "%s.autoscaling allows %v replicas, which needs persistence.accessModes ReadWriteMany: set mode none or maxReplicas 1." $name $most) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
