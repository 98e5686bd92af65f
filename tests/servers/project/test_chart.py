"""The Helm chart's own templates: lint, render, refuse. Its dependencies are not needed."""

import json
import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from breezeway.core.settings import Settings
from tests.fixtures.chart import CHART, HELM, ROOT, helm

STEPS = (
    "preprocess",
    "tune",
    "train",
    "test",
    "deploy",
    "canary",
    "drift",
    "backtest",
    "score",
    "labels",
)
LENDERS = {
    "canary": "deploy",
    "drift": "test",
    "backtest": "test",
    "score": "test",
    "labels": "preprocess",
}
"""Steps that run in the image of another."""
VERSION = version("breezeway")
VALUE_SETS = sorted(path.stem for path in (CHART / "ci").glob("*.yaml"))

AIRFLOW = """\
{{ define "airflow.fullname" }}{{ .Release.Name }}{{ end }}
env: {{ tpl .Values.extraEnv . | fromYamlArray | toJson }}
envFrom: {{ tpl .Values.extraEnvFrom . | fromYamlArray | toJson }}
schedulers: {{ toJson .Values.scheduler.env }}
processors: {{ toJson .Values.dagProcessor.env }}
volumes: {{ tpl (toYaml .Values.scheduler.extraVolumes) . | fromYamlArray | toJson }}
url: {{ tpl .Values.config.core.execution_api_server_url . }}
"""
"""What Airflow's own chart does with the values that it takes as templates."""


def template(chart: Path, *options: str | Path, release: str = "breezeway") -> list[dict]:
    done = helm("template", release, chart, "--api-versions=ray.io/v1", *options)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def refusal(chart: Path, *options: str | Path) -> str:
    done = helm("template", "breezeway", chart, *options)
    assert done.returncode != 0
    return done.stderr


def values(name: str) -> str:
    return f"--values={CHART / 'ci' / name}.yaml"


def one(manifests: list[dict], kind: str, name: str) -> dict:
    (found,) = (m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name))
    return found


def pod_templates(manifests: list[dict], name: str = "breezeway") -> dict[str, dict]:
    data = one(manifests, "ConfigMap", f"{name}-pod-templates")["data"]
    return {file.removesuffix(".yaml"): yaml.safe_load(text) for file, text in data.items()}


def pod_specs(manifests: list[dict]) -> dict[str, dict[str, Any]]:
    """Each pod that these manifests would make."""
    specs = {f"step {step}": pod["spec"] for step, pod in pod_templates(manifests).items()}
    for manifest in manifests:
        spec = manifest.get("spec") or {}
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            specs[manifest["metadata"]["name"]] = spec["template"]["spec"]
        if manifest["kind"] == "CronJob":
            job = spec["jobTemplate"]["spec"]
            specs[manifest["metadata"]["name"]] = job["template"]["spec"]
        if manifest["kind"] == "RayCluster":
            for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
                container = group["template"]["spec"]["containers"][0]["name"]
                specs[container] = group["template"]["spec"]
    return specs


@pytest.mark.parametrize("name", VALUE_SETS)
def test_lint(chart: Path, name: str):
    done = helm("lint", "--strict", chart, values(name))
    # Lint knows no cluster, so it cannot have Ray's operator.
    assert done.returncode == 0 or "KubeRay" in done.stdout, done.stdout


@pytest.mark.parametrize("name", VALUE_SETS)
def test_every_pod_is_confined(chart: Path, name: str):
    manifests = template(chart, values(name))
    specs = pod_specs(manifests)
    assert {f"step {step}" for step in STEPS} < specs.keys()
    for pod, spec in specs.items():
        assert spec["automountServiceAccountToken"] is False, pod
        assert spec["securityContext"]["runAsNonRoot"] is True, pod
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, pod
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, pod
            assert container["resources"]["limits"]["memory"], pod


@pytest.mark.parametrize("name", VALUE_SETS)
def test_no_secret_and_no_right_is_made(chart: Path, name: str):
    kinds = {manifest["kind"] for manifest in template(chart, values(name))}
    assert not kinds & {"Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}


@pytest.mark.parametrize("name", VALUE_SETS)
def test_names_are_unique_and_of_the_release(chart: Path, name: str):
    manifests = template(chart, values(name), release="prod")
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len(set(names)) == len(names)
    assert all(each.startswith("prod-breezeway") for _, each in names)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("servng.enabled=true", "servng"),
        ("serving.replicas=3", "replicas"),
        ("steps.tune.resource.limits.cpu=1", "resource"),
        ("steps.tune.resources.limits.memroy=1Gi", "memroy"),
        ("steps.evaluate.nodeSelector.a=b", "evaluate"),
        ("settings.thread=3", "thread"),
        ("mlflow.artifacts=mlflow", "mlflow.artifacts"),
        ("workspace.accessMode=RWX", "workspace.accessMode"),
        ("minio.image=minio", "minio.image"),
        ("ingress.hosts.airflow=a.example", "airflow"),
        ("secrets.password=x", "password"),
    ],
)
def test_a_typo_is_refused_with_its_name(chart: Path, option: str, named: str):
    assert re.search(rf"\b{re.escape(named)}\b", refusal(chart, "--set", option))


def test_each_setting_is_one_of_the_code(chart: Path):
    schema = json.loads((CHART / "values.schema.json").read_text())
    manifests = template(
        chart, "--set", "settings.lockWaitSeconds=7,settings.rayMinRows=50000000,sensors=x"
    )
    data = one(manifests, "ConfigMap", "breezeway-settings")["data"]
    assert data["BREEZEWAY_LOCK_WAIT_SECONDS"] == "7"
    assert data["BREEZEWAY_RAY_MIN_ROWS"] == "50000000"
    known = Settings.model_fields.keys()
    for name in data:
        if name.startswith("BREEZEWAY_"):
            assert name.removeprefix("BREEZEWAY_").lower() in known
    for name in schema["properties"]["settings"]["properties"]:
        assert re.sub("([A-Z])", r"_\1", name).lower() in known


def test_a_step_has_what_is_common_and_its_own(chart: Path):
    pods = pod_templates(template(chart, values("everything")))
    assert tuple(pods) == STEPS
    for step, pod in pods.items():
        (container,) = pod["spec"]["containers"]
        assert container["name"] == "base"
        assert container["image"] == f"breezeway/{LENDERS.get(step, step)}:{VERSION}"
        command = ["python", "-m", f"breezeway.steps.{step}"] if step in LENDERS else []
        assert container.get("command", []) == command
        assert pod["spec"]["serviceAccountName"] == "breezeway-step"
        assert ("nodeSelector" in pod["spec"]) == (step == "tune")
        memory = {"tune": "8Gi", "canary": "1Gi", "labels": "1Gi"}.get(step, "4Gi")
        assert container["resources"]["limits"]["memory"] == memory


def test_a_step_gets_the_secrets_that_it_needs(chart: Path):
    pods = pod_templates(template(chart))
    secrets = {
        step: {
            source["secretRef"]["name"].removeprefix("breezeway-")
            for source in pod["spec"]["containers"][0]["envFrom"]
            if "secretRef" in source
        }
        for step, pod in pods.items()
    }
    assert secrets == {
        "preprocess": {"raw-store", "mlflow-client"},
        "tune": {"mlflow-client"},
        "train": {"mlflow-client"},
        "test": {"raw-store", "mlflow-client"},
        "deploy": {"mlflow-client"},
        "canary": {"mlflow-client"},
        "drift": {"raw-store", "mlflow-client"},
        "backtest": {"raw-store", "mlflow-client"},
        "score": {"raw-store", "mlflow-client"},
        "labels": {"raw-store"},
    }


def test_the_name_that_deploy_asks_resolves_to_all_replicas(chart: Path):
    manifests = template(chart)
    service = one(manifests, "Service", "breezeway-serving-all")["spec"]
    (pods,) = one(manifests, "Deployment", "breezeway-serving")["spec"]["template"]["spec"][
        "containers"
    ]
    assert service["clusterIP"] == "None"
    assert service["publishNotReadyAddresses"] is True
    port = pods["ports"][0]["containerPort"]
    url = one(manifests, "ConfigMap", "breezeway-settings")["data"]["BREEZEWAY_SERVING_URL"]
    assert url == f"http://breezeway-serving-all:{port}"


def test_a_contract_of_ones_own(chart: Path):
    manifests = template(chart, f"--set-file=sensors={Settings.shipped_sensors / 'plant.toml'}")
    text = one(manifests, "ConfigMap", "breezeway-sensors")["data"]["sensors.toml"]
    assert text.strip() == (Settings.shipped_sensors / "plant.toml").read_text().strip()
    settings = one(manifests, "ConfigMap", "breezeway-settings")["data"]
    assert settings["BREEZEWAY_SENSORS"] == "/etc/breezeway/sensors.toml"
    for pod in pod_templates(manifests).values():
        assert "/etc/breezeway" in str(pod["spec"]["containers"][0]["volumeMounts"])
    assert "sensors" not in str(pod_templates(template(chart)))


def test_mlflow_answers_to_its_names_only(chart: Path):
    manifests = template(chart, values("everything"), "--namespace=ml")
    (container,) = one(manifests, "Deployment", "breezeway-mlflow")["spec"]["template"]["spec"][
        "containers"
    ]
    hosts = next(a for a in container["args"] if a.startswith("--allowed-hosts="))
    assert set(hosts.removeprefix("--allowed-hosts=").split(",")) == {
        "breezeway-mlflow:5000",
        "$(POD_IP):5000",
        "breezeway-mlflow.ml:5000",
        "breezeway-mlflow.ml.svc:5000",
        "breezeway-mlflow.ml.svc.cluster.local:5000",
        "mlflow.example",
    }


def test_deleted_runs_are_removed_for_good_by_whom_the_service_does_not_reach(chart: Path):
    manifests = template(chart)
    job = one(manifests, "CronJob", "breezeway-mlflow-gc")
    assert job["apiVersion"] == "batch/v1"
    old = one(template(chart, "--kube-version=1.20"), "CronJob", "breezeway-mlflow-gc")
    assert old["apiVersion"] == "batch/v1beta1"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]
    service = one(manifests, "Service", "breezeway-mlflow")
    assert not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    assert {each["secretRef"]["name"] for each in container["envFrom"] if "secretRef" in each} == {
        "breezeway-mlflow-server",
        "breezeway-mlflow-client",
    }
    policy = one(manifests, "NetworkPolicy", "breezeway-mlflow")
    callers = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]
    assert "mlflow-gc" in callers["values"]


def test_old_rows_of_airflow_are_removed_by_who_knows_its_database_and_nothing_else(chart: Path):
    manifests = template(chart, "--set", "settings.keepDays=30")
    job = one(manifests, "CronJob", "breezeway-airflow-clean")["spec"]["jobTemplate"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    (configuration,) = container["envFrom"]
    settings = one(manifests, "ConfigMap", configuration["configMapRef"]["name"])
    assert settings["data"]["BREEZEWAY_KEEP_DAYS"] == "30"
    (secret,) = (each["valueFrom"] for each in container["env"] if "valueFrom" in each)
    assert secret["secretKeyRef"] == {"name": "breezeway-airflow", "key": "connection"}
    given = yaml.safe_load((CHART / "values.yaml").read_text())["airflow"]
    image = f"{given['defaultAirflowRepository']}:{given['defaultAirflowTag']}"
    assert container["image"] == image
    command, _, code = container["command"]
    assert command == "python"
    compile(code, "command", "exec")
    without = template(chart, "--set", "airflow.enabled=false")
    assert "airflow-clean" not in json.dumps(without)


def test_the_model_server_answers_to_its_names_only(chart: Path):
    options = ["--namespace=ml", "--set", "serving.allowedOrigins={https://dashboard.example}"]
    manifests = template(chart, values("everything"), *options)
    (container,) = one(manifests, "Deployment", "breezeway-serving")["spec"]["template"]["spec"][
        "containers"
    ]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert json.loads(variables["BREEZEWAY_SERVING_ORIGINS"]) == ["https://dashboard.example"]
    names = ("breezeway-serving", "breezeway-serving-all")
    ends = ("", ".ml", ".ml.svc", ".ml.svc.cluster.local")
    assert set(json.loads(variables["BREEZEWAY_SERVING_HOSTS"])) == {
        "localhost",
        "predictions.example",
        *(name + end for name in names for end in ends),
    }


def test_an_ingress_publishes_no_model_server_without_a_token_unless_that_is_meant(chart: Path):
    published = ["--set", "ingress.enabled=true,ingress.hosts.serving=a.example"]
    assert "secrets.serving" in refusal(chart, *published)
    for meant in ("secrets.serving=breezeway-serving", "serving.public=true"):
        assert one(template(chart, *published, "--set", meant), "Ingress", "breezeway-serving")
    assert template(chart, *published, "--set", "serving.enabled=false")


def test_only_the_model_server_gets_the_key_that_signs(chart: Path):
    manifests = template(chart, "--set", "secrets.servingKey=breezeway-serving-key")
    holders = {
        pod
        for pod, spec in pod_specs(manifests).items()
        if "breezeway-serving-key" in json.dumps(spec)
    }
    assert len(holders) == 1
    assert "serving" in holders.pop()


def test_air_gapped_every_image_is_behind_the_registry(chart: Path):
    manifests = template(chart, values("air-gapped"))
    for pod, spec in pod_specs(manifests).items():
        for container in spec["containers"]:
            assert container["image"].startswith("harbor.example/ml/"), pod
    assert "harbor.example/ml/minio/minio:" in str(manifests)


@pytest.mark.parametrize(
    "forgotten",
    [
        "airflow.defaultAirflowRepository",
        "airflow.images.statsd.repository",
        "jupyterhub.hub.image.name",
        "jupyterhub.proxy.chp.image.name",
        "jupyterhub.singleuser.image.name",
    ],
)
def test_an_image_of_a_dependency_that_was_forgotten_is_named(chart: Path, forgotten: str):
    option = f"{forgotten}=docker.io/other"
    assert f"{forgotten} is docker.io/other" in refusal(
        chart, values("air-gapped"), "--set", option
    )


def test_ray_without_its_operator_is_refused(chart: Path):
    assert "KubeRay operator" in refusal(chart, "--set", "ray.enabled=true")


def test_what_airflow_does_not_get_is_refused(chart: Path):
    assert "store-2" in refusal(chart, "--set", "secrets.rawStore=store-2")
    assert "data-2" in refusal(chart, "--set", "workspace.existingClaim=data-2")


def test_airflow_is_given_our_names(chart: Path, tmp_path: Path):
    """Its values call a template of ours, with its own context."""
    folder = shutil.copytree(chart, tmp_path / "breezeway")
    airflow = folder / "charts" / "airflow"
    (airflow / "templates").mkdir(parents=True)
    (airflow / "Chart.yaml").write_text("apiVersion: v2\nname: airflow\nversion: 1.0.0\n")
    (airflow / "values.yaml").write_text("ports: {apiServer: 8080}\n")
    (airflow / "templates" / "all.yaml").write_text(AIRFLOW)
    done = helm("template", "prod", folder, "--show-only=charts/airflow/templates/all.yaml")
    assert done.returncode == 0, done.stderr
    given = yaml.safe_load(done.stdout)
    manifests = template(chart, release="prod")
    assert given["url"] == "http://prod-api-server:8080/execution/"
    assert {"name": "BREEZEWAY_POD_TEMPLATES", "value": "/etc/breezeway-pods"} in given["env"]
    one(manifests, "ConfigMap", given["envFrom"][0]["configMapRef"]["name"])
    (notifiers,) = given["schedulers"]
    assert given["processors"] == [notifiers]
    assert notifiers["name"] == "BREEZEWAY_NOTIFIERS"
    assert notifiers["valueFrom"]["secretKeyRef"]["optional"], "nobody has to be told"
    workspace, templates, sensors = given["volumes"]
    one(manifests, "PersistentVolumeClaim", workspace["persistentVolumeClaim"]["claimName"])
    one(manifests, "ConfigMap", templates["configMap"]["name"])
    assert sensors["configMap"] == {"name": "prod-breezeway-sensors", "optional": True}


def test_version_is_the_projects():
    metadata = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = re.search(r'(?m)^version = "(.*)"', (ROOT / "pyproject.toml").read_text())[1]
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    assert metadata["appVersion"] == project
    assert given["airflow"]["defaultAirflowTag"] == project
    assert given["jupyterhub"]["singleuser"]["image"]["tag"] == project


def test_versions_are_those_of_the_lock():
    locked = dict(re.findall(r"(?m)^([a-z-]+)==([^ ]+)", (ROOT / "requirements.txt").read_text()))
    given = yaml.safe_load((CHART / "values.yaml").read_text())
    assert given["airflow"]["airflowVersion"] == locked["apache-airflow"]
    assert given["ray"]["version"] == locked["ray"]


def test_mirror_list(chart: Path):
    def listed(*words: str) -> list[str]:
        command = ["make", "--silent", "mirror-list", f"HELM={HELM}", *words]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    images = listed()
    components = {"airflow", "mlflow", "notebook", "serving", *STEPS} - LENDERS.keys()
    assert {f"breezeway/{component}:{VERSION}" for component in components} < set(images)
    there = dict(line.split() for line in listed("REGISTRY=harbor.example/ml"))
    assert list(there) == images
    used = {
        container["image"]
        for spec in pod_specs(template(chart, values("air-gapped"))).values()
        for container in spec["containers"]
    }
    tagged = {image.partition("@")[0] for image in used}
    assert tagged < set(there.values())
    for image in (each for each in used if "@" in each):
        name, _, digest = image.partition("@")
        (original,) = (each for each, mirrored in there.items() if mirrored == name)
        assert re.fullmatch(rf"[^:@]+@{digest}", original)


def test_images_of_others_are_pinned_by_their_digest(chart: Path):
    pinned = re.compile(r"(.+):([^:@]+)@sha256:[0-9a-f]{64}")
    compose = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
    images = {
        *(
            container["image"]
            for spec in pod_specs(template(chart, values("everything"))).values()
            for container in spec["containers"]
        ),
        *(service["image"] for service in compose["services"].values()),
    }
    digests: dict[str, str] = {}
    for image in sorted(images):
        if re.match(r"(breezeway|\$\{BREEZEWAY_IMAGES)", image) or "statsd-exporter" in image:
            continue  # the StatsD exporter goes by the tag of Airflow's chart
        found = pinned.fullmatch(image)
        assert found, image
        name = found[1].partition("/")[2] + ":" + found[2]
        assert digests.setdefault(name, image.partition("@")[2]) == image.partition("@")[2]
    assert len(digests) >= 6
