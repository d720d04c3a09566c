{{/* The ports of a Service, those that KServe gives a predictor's. */}}
{{- define "nephra.servicePorts" -}}
- name: http
  port: 80
  targetPort: 8080
  protocol: TCP
- name: metrics
  port: 9090
  targetPort: 9090
  protocol: TCP
{{- end -}}
