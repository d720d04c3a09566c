{{/*
The metadata and spec of every pod of nephra, so that none is less closed than another.

  root         the chart's context
  component    gateway, nnunet, smoothing, postprocess or test
  values       the component's values
  container    its container's name
  image        the image's values
  resources    those of its container
  env          its environment, as a list
  volumes, mounts, initContainers    what it has beside /data and /tmp
  nodeSelector, tolerations          of a GPU node, beside the component's own
  command, restartPolicy, deadline   for the test and the migration alone
  dataless     it has no data root: what runs before the claim is there
  startup, ready, live               the paths of its probes, for a server
*/}}
{{- define "nephra.podLabels" -}}
{{- include "nephra.labels" (dict "root" .root "component" .component "copied" true "labels" .values.podLabels) }}
{{- end -}}

{{- define "nephra.podAnnotations" -}}
{{- with merge (dict) (default dict .values.podAnnotations) .root.Values.commonAnnotations }}
{{- toYaml . }}
{{- end }}
{{- end -}}

{{- define "nephra.podSpec" -}}
serviceAccountName: {{ include "nephra.account" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .restartPolicy }}
restartPolicy: {{ . }}
{{- end }}
{{- with .deadline }}
activeDeadlineSeconds: {{ int64 . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  # Or each start would walk through all images and masks.
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- if .ready }}
# preStop's 5 s, the work that drains, and 15 s to end.
terminationGracePeriodSeconds: {{ add 5 .values.drainSeconds 15 }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with merge (dict) (default dict .nodeSelector) (default dict .values.nodeSelector) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with concat (default list .tolerations) (default list .values.tolerations) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "nephra.affinity" . | fromYaml }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .initContainers }}
initContainers:
  {{- . | nindent 2 }}
{{- end }}
containers:
  - name: {{ .container }}
    image: {{ include "nephra.image" . }}
    imagePullPolicy: {{ .image.pullPolicy }}
    {{- with .command }}
    command:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      {{- include "nephra.containerSecurity" . | nindent 6 }}
    {{- if .ready }}
    ports:
      # KServe sends requests to the first one. It compares the protocol with what the API server made of it.
      - name: http
        containerPort: 8080
        protocol: TCP
      - name: metrics
        containerPort: 9090
        protocol: TCP
    {{- end }}
    env:
      {{- include "nephra.env" . | nindent 6 }}
    {{- if .ready }}
    startupProbe:
      httpGet:
        path: {{ .startup }}
        port: http
      periodSeconds: 2
      timeoutSeconds: 5
      failureThreshold: {{ div (add (default 120 .values.startupSeconds) 1) 2 }}
    readinessProbe:
      httpGet:
        path: {{ .ready }}
        port: http
      periodSeconds: 5
      timeoutSeconds: 5
      failureThreshold: 2
    livenessProbe:
      httpGet:
        path: {{ .live | default "/healthz" }}
        port: http
      periodSeconds: 15
      timeoutSeconds: 10
      failureThreshold: 4
    lifecycle:
      preStop:
        exec:
          # Until every proxy knows that this pod takes no more. The `sleep` action is newer than KServe's CRD may be.
          command: [sleep, "5"]
    {{- end }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      {{- if not .dataless }}
      - name: data
        mountPath: /data
      {{- end }}
      - name: tmp
        mountPath: /tmp
      {{- with concat (default list .mounts) (default list .values.extraVolumeMounts) }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  {{- if not .dataless }}
  - name: data
    persistentVolumeClaim:
      claimName: {{ include "nephra.claim" .root }}
  {{- end }}
  - name: tmp
    emptyDir:
      sizeLimit: {{ .values.tmpSize }}
  {{- with concat (default list .volumes) (default list .values.extraVolumes) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/*
Where pods stand. A claim that one node can mount keeps all of them together: a rolling update's new pod
would wait on another node for ever, and the old one for the new one.
*/}}
{{- define "nephra.affinity" -}}
{{- $affinity := deepCopy (default dict .values.affinity) -}}
{{- if not (or .dataless (has "ReadWriteMany" .root.Values.persistence.accessModes)) -}}
{{- $release := include "nephra.selector" (dict "root" .root) | fromYaml -}}
{{- $together := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $release) -}}
{{- $required := "requiredDuringSchedulingIgnoredDuringExecution" -}}
{{- $pods := default dict $affinity.podAffinity -}}
{{- $_ := set $pods $required (prepend (default list (get $pods $required)) $together) -}}
{{- $_ := set $affinity "podAffinity" $pods -}}
{{- end -}}
{{- toYaml $affinity -}}
{{- end -}}

{{- define "nephra.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The environment; what extraEnv names is not given twice, which a server-side apply would refuse. */}}
{{- define "nephra.env" -}}
{{- $extra := default list .values.extraEnv -}}
{{- $named := dict -}}
{{- range $extra }}{{ $_ := set $named .name true }}{{ end -}}
{{- $all := list -}}
{{- $tracing := list -}}
{{- with .root.Values.tracing.endpoint -}}{{- $tracing = append $tracing (dict "name" "OTEL_EXPORTER_OTLP_ENDPOINT" "value" .) -}}{{- end -}}
{{- range concat (list (dict "name" "HOME" "value" "/tmp") (dict "name" "NEPHRA_DATA" "value" "/data")) .env $tracing -}}
{{- if not (hasKey $named .name) }}{{ $all = append $all . }}{{ end -}}
{{- end -}}
{{- concat $all $extra | toYaml -}}
{{- end -}}
