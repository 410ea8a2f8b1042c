{{/*
A RayJob that is made later, from a ConfigMap, with its id in place of {{id}}: dict root, name, owned (by the
Job of uid {{owner}}), component (training or batch; also
its store key and cluster), image, entrypoint, config (list of ConfigMaps), mounts, volumes, priority (a place for the name of a priority class, too).
*/}}
{{- define "segdepth.rayJob" -}}
{{- $root := .root }}{{ $part := index .root.Values .component }}{{ $name := include "segdepth.name" $root -}}
{{- $head := dict "resources" $part.head.resources "nodeSelector" $part.nodeSelector "tolerations" $part.tolerations -}}
{{- $pod := dict "root" $root "component" .component "cluster" .component "image" .image "config" .config "checksum" "template" "keys" .component "mounts" .mounts "volumes" .volumes "priority" .priority -}}
apiVersion: ray.io/v1
kind: RayJob
metadata:
  name: {{ .name | quote }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "segdepth.labels" (list $root .component) | nindent 4 }}
    segdepth.io/job: {{ `"{{id}}"` }}
  {{- if .owned }}
  # It goes with the Job that made it, of which the CronJob keeps a few.
  ownerReferences:
    - {apiVersion: batch/v1, kind: Job, name: {{ `"{{id}}"` }}, uid: {{ `"{{owner}}"` }}}
  {{- end }}
spec:
  entrypoint: {{ .entrypoint | quote }}
  submissionMode: K8sJobMode
  backoffLimit: {{ $part.retries }}
  activeDeadlineSeconds: {{ int64 $part.deadline }}
  shutdownAfterJobFinishes: true
  ttlSecondsAfterFinished: 60
  submitterConfig: {backoffLimit: 3}
  submitterPodTemplate:
    metadata:
      labels:
        {{- include "segdepth.podLabels" (list $root (printf "%s-submitter" .component)) | nindent 8 }}
        segdepth.io/ray: {{ .component }}
    spec:
      {{- include "segdepth.pullSecrets" $root | nindent 6 }}
      {{- with .priority }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      restartPolicy: Never
      automountServiceAccountToken: false
      enableServiceLinks: false
      securityContext: {{- include "segdepth.podSecurity" $root | nindent 8 }}
      {{- include "segdepth.placement" $part | nindent 6 }}
      containers:
        - name: ray-job-submitter
          {{- include "segdepth.image" (list $root .image) | nindent 10 }}
          securityContext: {{- include "segdepth.containerSecurity" $root | nindent 12 }}
          resources: {{- toYaml $part.submitter.resources | nindent 12 }}
          volumeMounts: {{- include "segdepth.scratchMounts" $root | nindent 12 }}
      volumes: {{- include "segdepth.scratchVolumes" $root | nindent 8 }}
  rayClusterSpec:
    rayVersion: {{ $root.Values.rayVersion }}
    authOptions: {mode: token}
    enableInTreeAutoscaling: true
    autoscalerOptions: {{- include "segdepth.autoscaler" (dict "root" $root "part" $root.Values.ray.autoscaler) | nindent 6 }}
    headGroupSpec:
      rayStartParams: {num-cpus: {{ $part.head.cpus | quote }}}
      template: {{- include "segdepth.rayPod" (merge (dict "role" "head" "part" $head "account" (printf "%s-ray" $name)) $pod) | nindent 8 }}
    workerGroupSpecs:
      - groupName: worker
        replicas: {{ $part.workers.min }}
        minReplicas: {{ $part.workers.min }}
        maxReplicas: {{ $part.workers.max }}
        rayStartParams:
          num-cpus: {{ $part.workers.cpus | quote }}
          {{- with $part.workers.gpus }}
          num-gpus: {{ . | quote }}
          {{- end }}
        template: {{- include "segdepth.rayPod" (merge (dict "role" "worker" "part" $part "gpus" $part.workers.gpus "readinessProbe" (include "segdepth.rayletReady" $root | fromYaml)) $pod) | nindent 10 }}
{{- end }}
