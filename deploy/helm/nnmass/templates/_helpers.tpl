{{- define "nnmass.labels" -}}
app.kubernetes.io/name: nnmass
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "nnmass.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "nnmass.secret" -}}
{{ required "secrets.existing: name a Secret with NNMASS_DATABASE_URL, NNMASS_BROKER_URL and NNMASS_SECRET_KEY" .Values.secrets.existing }}
{{- end }}

{{- /* The environment of every process; secrets are never written into a manifest. */ -}}
{{- define "nnmass.environment" -}}
{{- range $name := list "NNMASS_DATABASE_URL" "NNMASS_BROKER_URL" }}
- name: {{ $name }}
  valueFrom: { secretKeyRef: { name: {{ include "nnmass.secret" $ }}, key: {{ $name }} } }
{{- end }}
{{- range $name, $value := merge (dict) .Values.settings (dict "NNMASS_LOG_FORMAT" "json") }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* Nothing runs as root, and nothing can be written but /tmp and, on workers with torch, the data. */ -}}
{{- define "nnmass.pod" -}}
automountServiceAccountToken: false
securityContext: { runAsNonRoot: true, runAsUser: 10001, fsGroup: 10001, seccompProfile: { type: RuntimeDefault } }
{{- with .Values.images.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- end }}

{{- define "nnmass.container" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: [ALL] } }
{{- end }}

{{- /* A worker that has ended is started again; one that is silent reconnects by itself, so there is no liveness probe. */ -}}
{{- define "nnmass.worker" -}}
{{- $values := index .root.Values .part -}}
{{- $torch := has .part (list "train" "files") -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .root.Release.Name }}-{{ .part }}
  labels: {{- include "nnmass.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .part }}
spec:
  {{- if not (dig "autoscaling" "enabled" false $values) }}
  replicas: {{ $values.replicas }}
  {{- end }}
  {{- if eq .part "train" }}
  # The old one stops first: if every GPU is in use, a new one could not start next to it.
  strategy: { type: RollingUpdate, rollingUpdate: { maxSurge: 0, maxUnavailable: 1 } }
  {{- end }}
  selector: { matchLabels: { app.kubernetes.io/instance: {{ .root.Release.Name | quote }}, app.kubernetes.io/component: {{ .part }} } }
  template:
    metadata:
      labels: {{- include "nnmass.labels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .part }}
    spec: {{- include "nnmass.pod" .root | nindent 6 }}
      # Time to queue running jobs again; a job killed later waits for its lease to expire.
      terminationGracePeriodSeconds: 30
      {{- if $torch }}
      {{- with $values.tolerations }}
      tolerations: {{ toJson . }}
      {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector: {{ toJson . }}
      {{- end }}
      {{- end }}
      containers:
        - name: {{ .part }}
          image: {{ include "nnmass.image" (dict "image" .image "root" .root) | quote }}
          command: [nnmass, worker, {{ .queue }}]
          {{- include "nnmass.container" .root | nindent 10 }}
          env: {{- include "nnmass.environment" .root | nindent 12 }}
          {{- $resources := $values.resources | default dict }}
          {{- if and (eq .part "train") (gt (int $values.gpus) 0) }}
          {{- $gpus := dict $values.gpuResource (int $values.gpus) }}
          resources: {{ toJson (dict "requests" (merge (dict) $gpus ($resources.requests | default dict)) "limits" (merge (dict) $gpus ($resources.limits | default dict))) }}
          {{- else }}
          resources: {{ toJson $resources }}
          {{- end }}
          volumeMounts:
            - { name: tmp, mountPath: /tmp }
            {{- if eq .part "train" }}
            - { name: shm, mountPath: /dev/shm }
            {{- end }}
            {{- if $torch }}
            - { name: data, mountPath: /home/nnmass/.local/share/nnmass }
            {{- end }}
      volumes:
        - { name: tmp, emptyDir: {} }
        {{- if eq .part "train" }}
        - { name: shm, emptyDir: { medium: Memory, sizeLimit: {{ $values.sharedMemory }} } }
        {{- end }}
        {{- if $torch }}
        {{- if .root.Values.storage.enabled }}
        - { name: data, persistentVolumeClaim: { claimName: {{ .root.Values.storage.existingClaim | default (printf "%s-training" .root.Release.Name) }} } }
        {{- else }}
        - { name: data, emptyDir: {} }
        {{- end }}
        {{- end }}
{{- end }}

{{- define "nnmass.autoscaler" -}}
{{- $values := index .root.Values .part -}}
{{- if $values.autoscaling.enabled }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .root.Release.Name }}-{{ .part }}
  labels: {{- include "nnmass.labels" .root | nindent 4 }}
spec:
  scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: {{ .root.Release.Name }}-{{ .part }} }
  minReplicas: {{ $values.autoscaling.minReplicas }}
  maxReplicas: {{ $values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource: { name: cpu, target: { type: Utilization, averageUtilization: {{ $values.autoscaling.cpuPercent }} } }
{{- end }}
{{- end }}
