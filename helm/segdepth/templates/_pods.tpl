{{/* What every pod has in common: who it runs as, where it may write, what it knows. */}}

{{/* Pod security, as namespaces enforce it with pod-security.kubernetes.io/enforce: restricted */}}
{{- define "segdepth.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "segdepth.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 1000
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The two folders that may be written. They go with the pod. */}}
{{- define "segdepth.scratchVolumes" -}}
- {name: home, emptyDir: {}}
- {name: tmp, emptyDir: {}}
{{- end }}

{{- define "segdepth.scratchMounts" -}}
- {name: home, mountPath: /home/segdepth}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{/* Settings as environment variables, for a ConfigMap: (list "SEGDEPTH_GATEWAY_" $settings) */}}
{{- define "segdepth.environment" -}}
{{- $prefix := index . 0 }}
{{- range $name, $value := index . 1 }}
{{- if not (kindIs "invalid" $value) }}
{{ $prefix }}{{ upper $name }}: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ $value | toJson | quote }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The store's keys of a component: (list $ "gateway") */}}
{{- define "segdepth.storeKeys" -}}
{{- $secret := include "segdepth.storeSecret" . -}}
- name: SEGDEPTH_STORE_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: access-key}}
- name: SEGDEPTH_STORE_SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: secret-key}}
{{- end }}

{{- define "segdepth.storeSecret" -}}
{{- $root := index . 0 }}{{ $component := index . 1 -}}
{{ index $root.Values.store.secrets $component | default (printf "%s-store-%s" (include "segdepth.name" $root) $component) }}
{{- end }}

{{/* ConfigMaps as environment: (list $ "store" "gateway") */}}
{{- define "segdepth.environmentFrom" -}}
{{- $root := index . 0 }}
{{- range rest . }}
- configMapRef: {name: {{ include "segdepth.name" $root }}-{{ . }}}
{{- end }}
{{- end }}

{{/* Copies of a component apart from each other: (list $ "gateway") */}}
{{- define "segdepth.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "segdepth.selector" . | nindent 8 }}
{{- end }}

{{- define "segdepth.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
