{{/* Pods of Ray clusters. KubeRay's own containers (waiting for the head, autoscaler) take their security from these. */}}

{{/* How Ray runs here */}}
{{- define "segdepth.rayEnvironment" -}}
- {name: RAY_USAGE_STATS_ENABLED, value: "0"}
# Ray runs its workers at 15 unless told otherwise: gateway and model would yield to whatever else runs here.
- {name: RAY_worker_niceness, value: "0"}
- {name: RAY_SERVE_CONTROL_LOOP_INTERVAL_S, value: "0.5"}
- {name: RAY_SERVE_METRICS_EXPORT_INTERVAL_MS, value: "2000"}
# Clusters of many clouds are drained before a node goes; here pods have their preStop hook.
- {name: RAY_TRAIN_ENABLE_PREEMPTION_WATCHER, value: "0"}
- {name: RAY_TRAIN_V2_ENABLED, value: "1"}
{{- end }}

{{- define "segdepth.rayEnvironmentNames" -}}
{{- $names := list }}{{ range include "segdepth.rayEnvironment" . | fromYamlArray }}{{ $names = append $names .name }}{{ end -}}
{{ toJson $names }}
{{- end }}

{{/*
A pod: dict root, component (its label and store keys), cluster (serving, training, batch), role (head or a worker group),
image, part (its values: resources, nodeSelector, tolerations), config (list of ConfigMaps), env, mounts, volumes, ports,
readinessProbe, preStop, grace, account, checksum.
*/}}
{{- define "segdepth.rayPod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "segdepth.podLabels" (list $root .component (not (empty .account))) | nindent 4 }}
    segdepth.io/ray: {{ .cluster }}
  annotations:
    # Another configuration is another cluster: KubeRay compares this.
    segdepth.io/configuration: {{ .checksum }}
spec:
  {{- include "segdepth.pullSecrets" $root | nindent 2 }}
  {{- with .account }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- if not .account }}
  automountServiceAccountToken: false
  {{- end }}
  {{- with .priority }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .grace | default 30 }}
  securityContext: {{- include "segdepth.podSecurity" $root | nindent 4 }}
  {{- include "segdepth.placement" .part | nindent 2 }}
  {{- if ne .role "head" }}
  {{- include "segdepth.spread" (list $root .component) | nindent 2 }}
  {{- end }}
  containers:
    - name: ray
      {{- include "segdepth.image" (list $root .image) | nindent 6 }}
      securityContext: {{- include "segdepth.containerSecurity" $root | nindent 8 }}
      {{- with .ports }}
      ports: {{- toYaml . | nindent 8 }}
      {{- end }}
      envFrom: {{- include "segdepth.environmentFrom" (prepend .config $root) | nindent 8 }}
      env:
        {{- include "segdepth.rayEnvironment" $root | nindent 8 }}
        {{- with .keys }}
        {{- include "segdepth.storeKeys" (list $root .) | nindent 8 }}
        {{- end }}
        {{- with .env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      resources: {{- include "segdepth.rayResources" . | nindent 8 }}
      {{- with .readinessProbe }}
      readinessProbe: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .preStop }}
      lifecycle:
        preStop: {exec: {command: [bash, -c, {{ . | quote }}]}}
      {{- end }}
      volumeMounts:
        {{- include "segdepth.scratchMounts" $root | nindent 8 }}
        {{- with .mounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "segdepth.scratchVolumes" $root | nindent 4 }}
    {{- with .volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Resources of a Ray container, with its GPUs */}}
{{- define "segdepth.rayResources" -}}
{{- $resources := deepCopy (.resources | default .part.resources) -}}
{{- if .gpus }}
{{- $_ := set $resources "limits" (merge (dict "nvidia.com/gpu" .gpus) ($resources.limits | default dict)) }}
{{- end -}}
{{- toYaml $resources }}
{{- end }}

{{/* A readiness probe of a worker: its own raylet. KubeRay's default asks for a Serve proxy, which there is none of. */}}
{{- define "segdepth.rayletReady" -}}
httpGet: {path: /api/healthz, port: 52365}
initialDelaySeconds: 5
periodSeconds: 5
timeoutSeconds: 3
failureThreshold: 10
{{- end }}

{{/* autoscalerOptions: dict root, part (values with resources and idleTimeout) */}}
{{- define "segdepth.autoscaler" -}}
version: v2
idleTimeoutSeconds: {{ .part.idleTimeout | default 60 }}
upscalingMode: Default
imagePullPolicy: {{ .root.Values.images.pullPolicy }}
resources: {{- toYaml .part.resources | nindent 2 }}
securityContext: {{- include "segdepth.containerSecurity" .root | nindent 2 }}
env: [{name: RAY_USAGE_STATS_ENABLED, value: "0"}]
volumeMounts: {{- include "segdepth.scratchMounts" .root | nindent 2 }}
{{- end }}
