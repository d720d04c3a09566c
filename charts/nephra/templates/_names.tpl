{{/*
What the release's objects are called. 36 characters are what KServe leaves of 63: it labels the pods
with `app: isvc.NAME-predictor`, where NAME is this and `-postprocess`. A name that is cut ends in a part
of its hash, so that two long names do not become one.
*/}}
{{- define "nephra.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- $name = default $name .Values.fullnameOverride | lower | replace "." "-" | replace "_" "-" -}}
{{- /* KServe wants a letter first, a release's name may begin with a digit. */ -}}
{{- if not (regexMatch "^[a-z]" $name) -}}{{- $name = printf "n-%s" $name -}}{{- end -}}
{{- if gt (len $name) 36 -}}
{{- printf "%s-%s" ($name | trunc 29 | trimSuffix "-") ($name | sha256sum | trunc 6) -}}
{{- else -}}
{{- $name | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* The enabled predictors, as JSON: {"names": [...]}. */}}
{{- define "nephra.predictors" -}}
{{- $names := list -}}
{{- range list "nnunet" "smoothing" "postprocess" -}}
{{- if (index $.Values .).enabled -}}{{- $names = append $names . -}}{{- end -}}
{{- end -}}
{{- dict "names" $names | toJson -}}
{{- end -}}

{{/* All components that have pods, as JSON: {"names": [...]}. */}}
{{- define "nephra.components" -}}
{{- $names := prepend (include "nephra.predictors" . | fromJson).names "gateway" -}}
{{- dict "names" (ternary (append $names "test") $names .Values.tests.enabled) | toJson -}}
{{- end -}}

{{/* The labels by which a release's pods are found; with `component` those of one component. They never change. */}}
{{- define "nephra.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{/*
Labels of an object: component, labels (more of them). `copied: true` leaves off those that change with each chart: KServe copies an
InferenceService's labels to its pods, so that an upgrade that changes nothing else would restart them.
*/}}
{{- define "nephra.labels" -}}
{{ include "nephra.selector" . }}
app.kubernetes.io/part-of: nephra
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- if not .copied }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- with merge (dict) (default dict .labels) .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Name, namespace, labels and annotations of an object: `suffix`, `component`, `labels`, `annotations`. */}}
{{- define "nephra.metadata" -}}
name: {{ include "nephra.fullname" .root }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "nephra.labels" . | nindent 2 }}
{{- with merge (dict) (default dict .annotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image's reference: a digest wins over a tag, an image's own registry over the global one. */}}
{{- define "nephra.image" -}}
{{- $registry := default .root.Values.global.imageRegistry .image.registry -}}
{{- with $registry }}{{ . | trimSuffix "/" }}/{{ end -}}
{{- .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ default .root.Chart.AppVersion .image.tag }}{{ end -}}
{{- end -}}

{{/* The claim, the Secret of the tokens, and the account of a component. */}}
{{- define "nephra.claim" -}}
{{- default (printf "%s-data" (include "nephra.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}

{{- define "nephra.secret" -}}
{{- default (printf "%s-tokens" (include "nephra.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{- define "nephra.account" -}}
{{- if .root.Values.serviceAccount.create -}}
{{ include "nephra.fullname" .root }}-{{ .component }}
{{- else -}}
{{ default "default" .root.Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{/* The gateway's URL inside the cluster. */}}
{{- define "nephra.url" -}}
http://{{ include "nephra.fullname" . }}-gateway.{{ .Release.Namespace }}
{{- end -}}
