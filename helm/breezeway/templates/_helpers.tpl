{{/* It uses only the release, so that the values of Airflow's chart can call it. */}}
{{- define "breezeway.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains "breezeway" $name) }}{{ $name = printf "%s-breezeway" $name }}{{ end -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Arguments of this and the next: root, component */}}
{{- define "breezeway.selector" -}}
app.kubernetes.io/name: breezeway
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "breezeway.labels" -}}
{{ include "breezeway.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* One of our images. Arguments: root, component */}}
{{- define "breezeway.image" -}}
{{- $v := .root.Values -}}
{{- $tag := $v.image.tag | default .root.Chart.AppVersion -}}
{{- with $v.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ $v.image.project }}/{{ .component }}:{{ $tag }}
{{- end }}

{{/* An image of others, with its registry. Arguments: root, image */}}
{{- define "breezeway.mirrored" -}}
{{- $image := .image -}}
{{- with .root.Values.imageRegistry -}}
{{- $image = print (trimSuffix "/" .) "/" ($image | splitList "/" | rest | join "/") -}}
{{- end -}}
{{ $image }}
{{- end }}

{{- define "breezeway.claim" -}}
{{ .Values.workspace.existingClaim | default (print (include "breezeway.fullname" .) "-workspace") }}
{{- end }}

{{- define "breezeway.mlflowUrl" -}}
{{- if .Values.mlflow.enabled -}}
http://{{ include "breezeway.fullname" . }}-mlflow:5000
{{- else -}}
{{ required "mlflow.url is needed where mlflow.enabled is false" .Values.mlflow.url }}
{{- end }}
{{- end }}

{{/* The part that all pods share. Arguments: root, account, place (nodeSelector, tolerations) */}}
{{- define "breezeway.pod" -}}
serviceAccountName: {{ include "breezeway.fullname" .root }}-{{ .account }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 50000
  runAsGroup: 0
  fsGroup: 0
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- with .place.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .place.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "breezeway.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- define "breezeway.secretEnv" -}}
{{- range . }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- end }}

{{/* A changed setting restarts the pods that use it. */}}
{{- define "breezeway.checksum" -}}
checksum/settings: {{ include (print .Template.BasePath "/settings.yaml") . | sha256sum }}
{{- end }}

{{/* The pod of a step; Airflow adds arguments and a name. Arguments: root, step */}}
{{- define "breezeway.stepPod" -}}
{{- $root := .root -}}
{{- $own := mergeOverwrite (deepCopy $root.Values.steps.common) (index $root.Values.steps .step) -}}
{{- $names := $root.Values.secrets -}}
{{- $secrets := list -}}
{{- if has .step (list "preprocess" "test" "drift" "backtest" "score" "labels") }}
  {{- $secrets = append $secrets $names.rawStore }}
{{- end -}}
{{- if has .step (list "preprocess" "tune" "train" "test" "deploy" "canary" "drift" "backtest" "score") }}
  {{- $secrets = append $secrets $names.mlflowClient }}
{{- end -}}
{{- if has .step (list "deploy" "canary") }}
  {{- $secrets = append $secrets $names.serving }}
{{- end -}}
{{- $secrets = compact (append $secrets $names.objectStore) -}}
apiVersion: v1
kind: Pod
metadata:
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- include "breezeway.labels" (dict "root" $root "component" .step) | nindent 4 }}
spec:
  {{- include "breezeway.pod" (dict "root" $root "account" "step" "place" $own) | nindent 2 }}
  containers:
    - name: base
      {{- $lender := get (dict "canary" "deploy" "drift" "test" "backtest" "test" "score" "test" "labels" "preprocess") .step }}
      image: {{ include "breezeway.image" (dict "root" $root "component" ($lender | default .step)) }}
      {{- if $lender }}
      command: [python, -m, breezeway.steps.{{ .step }}]
      {{- end }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- include "breezeway.container" . | nindent 6 }}
      envFrom:
        - configMapRef:
            name: {{ include "breezeway.fullname" $root }}-settings
        {{- include "breezeway.secretEnv" $secrets | trim | nindent 8 }}
      resources:
        {{- toYaml $own.resources | nindent 8 }}
      volumeMounts:
        - name: workspace
          mountPath: /var/lib/breezeway
        - name: tmp
          mountPath: /tmp
        - name: shm
          mountPath: /dev/shm
        {{- if $root.Values.sensors }}
        - name: sensors
          mountPath: /etc/breezeway
          readOnly: true
        {{- end }}
  volumes:
    - name: workspace
      persistentVolumeClaim:
        claimName: {{ include "breezeway.claim" $root }}
    - name: tmp
      emptyDir: {}
    # For Ray's object store: with the default of 64 MB it would use the disk.
    - name: shm
      emptyDir:
        medium: Memory
        sizeLimit: 512Mi
    {{- if $root.Values.sensors }}
    - name: sensors
      configMap:
        name: {{ include "breezeway.fullname" $root }}-sensors
    {{- end }}
{{- end }}
