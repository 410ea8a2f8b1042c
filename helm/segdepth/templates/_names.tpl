{{/* Names, labels and images. */}}

{{- define "segdepth.name" -}}
{{- $both := printf "%s-%s" .Release.Name .Chart.Name -}}
{{- ternary .Release.Name $both (contains .Chart.Name .Release.Name) | trunc 25 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that select a component's pods: (list $ "gateway") */}}
{{- define "segdepth.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: segdepth
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of an object: (list $ "gateway") */}}
{{- define "segdepth.labels" -}}
{{- $root := index . 0 -}}
{{ include "segdepth.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{/* Labels of a pod: the selector's, what network policies look for, and whether it talks to the API server:
     (list $ "api" true) */}}
{{- define "segdepth.podLabels" -}}
{{ include "segdepth.selector" . }}
segdepth.io/instance: {{ (index . 0).Release.Name }}
{{- if and (gt (len .) 2) (index . 2) }}
segdepth.io/api-server: allowed
{{- end }}
{{- end }}

{{/* One of our images: (list $ "serving") */}}
{{- define "segdepth.image" -}}
{{- $root := index . 0 }}{{ $image := index $root.Values.images (index . 1) -}}
image: {{ printf "%s%s:%s" $root.Values.images.registry $image.repository ($image.tag | default $root.Chart.AppVersion) }}
imagePullPolicy: {{ $root.Values.images.pullPolicy }}
{{- end }}

{{/* An image that is taken as it is: (list $ "minio") */}}
{{- define "segdepth.foreignImage" -}}
{{- $root := index . 0 }}{{ $image := index $root.Values.images (index . 1) -}}
image: {{ printf "%s:%s" $image.repository $image.tag }}
imagePullPolicy: {{ $root.Values.images.pullPolicy }}
{{- end }}

{{- define "segdepth.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets: {{ range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{/* A priority class of batch jobs, which no namespace holds: (list $ "low") */}}
{{- define "segdepth.priorityClass" -}}
{{- $root := index . 0 -}}
{{ printf "%s-%s" $root.Release.Namespace (include "segdepth.name" $root) | trunc 30 | trimSuffix "-" }}-batch-{{ index . 1 }}
{{- end }}
