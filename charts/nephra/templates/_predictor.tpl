{{/*
What the three predictors' pods differ in, as JSON for nephra.podSpec: takes root and component.
*/}}
{{- define "nephra.predictor" -}}
{{- $values := index .root.Values .component -}}
{{- $cores := dict "resourceFieldRef" (dict "containerName" "kserve-container" "resource" "limits.cpu") -}}
{{- $env := list
      (dict "name" "NEPHRA_HOST" "value" "0.0.0.0")
      (dict "name" "NEPHRA_PORT" "value" "8080")
      (dict "name" "NEPHRA_METRICS_PORT" "value" "9090")
      (dict "name" "NEPHRA_CONCURRENCY" "value" (toString (int64 $values.concurrency)))
      (dict "name" "NEPHRA_DRAIN_S" "value" (toString (int64 $values.drainSeconds)))
      (dict "name" "OMP_NUM_THREADS" "valueFrom" $cores) -}}
{{- $pod := dict
      "component" .component
      "container" "kserve-container"
      "image" $values.image
      "resources" $values.resources
      "startup" "/readyz"
      "ready" "/readyz" -}}
{{- if eq .component "nnunet" -}}
{{- $bundles := include "nephra.bundles" .root | fromJson -}}
{{- $gpu := $values.gpu -}}
{{- $env = concat $env (list
      (dict "name" "NEPHRA_BUNDLES" "value" (join ":" $bundles.paths))
      (dict "name" "NEPHRA_THREADS" "valueFrom" $cores)
      (dict "name" "NEPHRA_BACKEND" "value" (ternary $gpu.backend "openvino" $gpu.enabled))
      (dict "name" "NEPHRA_DEVICE" "value" (ternary $gpu.device "cpu" $gpu.enabled))) -}}
{{- $_ := set $pod "volumes" $bundles.volumes -}}
{{- $_ := set $pod "mounts" $bundles.mounts -}}
{{- if $gpu.enabled -}}
{{- $_ := set $pod "image" (merge (dict "repository" $gpu.repository "digest" $gpu.digest) (omit $values.image "repository" "digest")) -}}
{{- $count := dict $gpu.resourceName (toString (int64 $gpu.count)) -}}
{{- $_ := set $pod "resources" (dict "requests" $values.resources.requests "limits" (merge (dict) $count $values.resources.limits)) -}}
{{- $_ := set $pod "nodeSelector" $gpu.nodeSelector -}}
{{- $_ := set $pod "tolerations" $gpu.tolerations -}}
{{- end -}}
{{- end -}}
{{- set $pod "env" $env | toJson -}}
{{- end -}}

{{/* Where nnunet's bundles are: JSON {"paths": [...], "volumes": [...], "mounts": [...], "copies": [...]}. */}}
{{- define "nephra.bundles" -}}
{{- $paths := list -}}{{- $volumes := list -}}{{- $mounts := list -}}{{- $copies := list -}}
{{- /* A pod that mounts one claim as two volumes may wait for ever for the second: each is mounted once. */ -}}
{{- $claims := dict (include "nephra.claim" .) "/data" -}}
{{- range $i, $bundle := .Values.nnunet.bundles -}}
{{- $name := printf "bundles-%d" $i -}}
{{- $path := printf "/bundles/%d" $i -}}
{{- if $bundle.demo -}}
{{- $paths = append $paths "/opt/nephra/bundles" -}}
{{- else -}}
{{- $mount := dict "name" $name "mountPath" $path "readOnly" true -}}
{{- with $bundle.claim -}}
{{- if not (hasKey $claims .name) -}}
{{- $_ := set $claims .name $path -}}
{{- $volumes = append $volumes (dict "name" $name "persistentVolumeClaim" (dict "claimName" .name "readOnly" true)) -}}
{{- $mounts = append $mounts $mount -}}
{{- end -}}
{{- $paths = append $paths (printf "%s/%s" (get $claims .name) (default "" .path) | trimSuffix "/") -}}
{{- end -}}
{{- with $bundle.image -}}
{{- $mounts = append $mounts $mount -}}
{{- $pull := default "IfNotPresent" .pullPolicy -}}
{{- if .volume -}}
{{- $volumes = append $volumes (dict "name" $name "image" (dict "reference" .reference "pullPolicy" $pull)) -}}
{{- $paths = append $paths (printf "%s%s" $path .path | trimSuffix "/") -}}
{{- else -}}
{{- $volumes = append $volumes (dict "name" $name "emptyDir" (dict "sizeLimit" $.Values.nnunet.copy.size)) -}}
{{- $copies = append $copies (dict "name" $name "image" .reference "pullPolicy" $pull "from" .path "to" $path) -}}
{{- $paths = append $paths $path -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "paths" $paths "volumes" $volumes "mounts" $mounts "copies" $copies | toJson -}}
{{- end -}}

{{/* The init containers that copy bundles out of images. */}}
{{- define "nephra.copies" -}}
{{- range (include "nephra.bundles" . | fromJson).copies }}
- name: {{ .name }}
  image: {{ .image }}
  imagePullPolicy: {{ .pullPolicy }}
  command: [sh, -c, 'cp -R "$FROM/." "$TO/"']
  env:
    - name: FROM
      value: {{ .from }}
    - name: TO
      value: {{ .to }}
  securityContext:
    {{- include "nephra.containerSecurity" $ | nindent 4 }}
  resources:
    {{- toYaml $.Values.nnunet.copy.resources | nindent 4 }}
  volumeMounts:
    - name: {{ .name }}
      mountPath: {{ .to }}
{{- end }}
{{- end -}}

{{/* A predictor's whole pod spec: takes root and component. */}}
{{- define "nephra.predictorSpec" -}}
{{- $pod := include "nephra.predictor" . | fromJson -}}
{{- $_ := set $pod "root" .root -}}
{{- $_ := set $pod "values" (index .root.Values .component) -}}
{{- if eq .component "nnunet" -}}
{{- $_ := set $pod "initContainers" (include "nephra.copies" .root | trim) -}}
{{- end -}}
{{- include "nephra.podSpec" $pod -}}
{{- end -}}

{{/*
How a component is replaced. On a GPU the old pod has to go first: a new one would wait for ever for the
GPU that the old one holds. So has a gateway with SQLite: two on different nodes would write one file, for
which SQLite has no protection on most network file systems. Elsewhere the old one stays until the new one
is ready.
*/}}
{{- define "nephra.strategy" -}}
{{- $gpu := and (eq .component "nnunet") .root.Values.nnunet.gpu.enabled -}}
{{- $sqlite := and (eq .component "gateway") (not .root.Values.database.existingSecret) -}}
{{- if or $gpu $sqlite -}}
type: Recreate
{{- else -}}
type: RollingUpdate
rollingUpdate:
  maxSurge: 1
  maxUnavailable: 0
{{- end -}}
{{- end -}}

{{/* What KEDA scales by: triggers (yours), requests (Prometheus) or cpu. */}}
{{- define "nephra.kedaBy" -}}
{{- if .keda.triggers -}}triggers
{{- else if .keda.prometheusAddress -}}requests
{{- else -}}cpu
{{- end -}}
{{- end -}}
