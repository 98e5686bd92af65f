"""Rules and dashboards, on what a real Prometheus reads from the real servers."""

import json
import math
import os
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from breezeway.deployment.store import Challenger
from tests.fixtures.chart import CHART, helm
from tests.fixtures.prometheus import (
    MONITORING,
    ROOT,
    Prometheus,
    StatsdBridge,
    needs_node_exporter,
    needs_prometheus,
)
from tests.fixtures.serving import (
    CONTRACT,
    ModelServer,
    add_deployment,
    make_model,
    make_readings,
)

RULES = MONITORING / "prometheus" / "rules.yaml"
RULE_TESTS = sorted(RULES.parent.glob("tests*.yaml"))
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
UNITS = {"short", "s", "percentunit", "reqps", "bytes", "Bps"}
FLAGGING = CONTRACT.replace("range = [-20, 150]", 'range = [-20, 150]\ninvalid = "missing"')
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def alerts() -> dict[str, dict]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for g in groups for rule in g["rules"] if "alert" in rule}


def dashboard(path: Path) -> dict:
    return json.loads(path.read_text())


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:breezeway|airflow|mlflow|process|node)_\w+", expression))


@needs_prometheus
@pytest.mark.parametrize(
    "what", [("check", "rules.yaml"), *(("test", file.name) for file in RULE_TESTS)]
)
def test_promtool(what):
    word, file = what
    command = ["promtool", word, "rules", file]
    done = subprocess.run(command, cwd=RULES.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_the_configuration_of_compose_is_one():
    command = ["promtool", "check", "config", str(RULES.with_name("prometheus.yml"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_says_what_to_do_and_is_tried_both_ways():
    tried = {True: set(), False: set()}
    cases = [case for file in RULE_TESTS for case in yaml.safe_load(file.read_text())["tests"]]
    for case in cases:
        for check in case["alert_rule_test"]:
            tried[bool(check["exp_alerts"])].add(check["alertname"])
    assert tried[True] == tried[False] == alerts().keys()
    for rule in alerts().values():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"].keys() == {"summary", "description", "action"}


def test_dashboards_do_not_share_an_id():
    uids = [dashboard(path)["uid"] for path in DASHBOARDS]
    assert len(uids) == len(set(uids)) == 4


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path):
    """What Grafana needs to show it. Grafana itself can't be had here."""
    board = dashboard(path)
    assert re.fullmatch(r"[a-z-]{1,40}", board["uid"])
    assert board["title"].startswith("Breezeway: ")
    assert board["schemaVersion"] == 41
    assert "id" not in board  # Grafana gives it
    names = {variable["name"] for variable in board["templating"]["list"]}
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + right, place["y"] + down)
            for right in range(place["w"])
            for down in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["title"]
        assert panel["type"] in ("timeseries", "stat", "table", "heatmap")
        assert panel["datasource"] == DATASOURCE
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert [t["refId"] for t in panel["targets"]] == list("ABCDE"[: len(panel["targets"])])
        for target in panel["targets"]:
            assert target["datasource"] == DATASOURCE
            used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
            assert used <= names, panel["title"]


@pytest.fixture(scope="module")
def airflow_sends(statsd: StatsdBridge, tmp_path_factory) -> Iterator[subprocess.Popen]:
    """A short life of a real Airflow, which sends its metrics to the bridge."""
    folder = tmp_path_factory.mktemp("airflow")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")},
        **compose_settings("scheduler", "AIRFLOW__METRICS__"),
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.statsd_port),
        "AIRFLOW_HOME": str(folder / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "1",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder / 'airflow.db'}",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__POOL_METRICS_INTERVAL": "0.5",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "plugins", ROOT / "include"))),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fixtures.airflow_metrics", str(folder)],
        cwd=ROOT,
        env=environment,
        stdout=(folder / "log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    process.log = folder / "log"
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def compose_settings(service: str, prefix: str) -> dict[str, str]:
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    environment = compose["services"][service]["environment"]
    return {name: value for name, value in environment.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def monitored(
    airflow_sends: subprocess.Popen,
    model_server: ModelServer,
    mlflow_server: str,
    statsd: StatsdBridge,
    node_exporter: str,
    prometheus_of,
    tmp_path_factory,
) -> Iterator[Prometheus]:
    """A Prometheus that has read the servers while they had something to do."""
    targets = {
        "breezeway-serving": model_server.url,
        "breezeway-mlflow": mlflow_server,
        "breezeway-airflow": f"http://127.0.0.1:{statsd.port}",
        "node": f"http://{node_exporter}",
    }
    targets = {job: url.removeprefix("http://") for job, url in targets.items()}
    folder = tmp_path_factory.mktemp("models")
    with prometheus_of(targets).running() as prometheus:
        deploy_all(model_server, folder)
        enough = time.monotonic() + 6
        while airflow_sends.poll() is None or time.monotonic() < enough:
            use(model_server)
            model_server.http.get(f"{mlflow_server}/api/2.0/mlflow/experiments/get?experiment_id=0")
            time.sleep(0.2)
        assert airflow_sends.returncode == 0, airflow_sends.log.read_text()[-3000:]
        time.sleep(2.5)  # two scrapes more, so that each counter has a rate
        yield prometheus


def deploy_all(server: ModelServer, folder: Path) -> None:
    """Model `watched` is swapped and has a canary, `shadowed` a shadow, `broken` cannot load."""
    store = server.store
    made = {
        (name, version): add_deployment(
            store,
            name,
            version,
            make_model(folder / f"{name}{version}", version, name, FLAGGING),
        )
        for name in ("watched", "shadowed")
        for version in (1, 2)
    }
    for name in ("watched", "shadowed"):
        store.point(made[name, 1])
        server.wait(name, lambda status: status.get("model_version") == "1")
    store.point(made["watched", 2])
    server.wait("watched", lambda status: status["swaps"] == 1)
    trials = {
        "watched": (made["watched", 2], Challenger.of(made["watched", 1], "canary", 0.5)),
        "shadowed": (made["shadowed", 1], Challenger.of(made["shadowed", 2], "shadow")),
    }
    for name, (champion, challenger) in trials.items():
        store.point(champion.model_copy(update={"challenger": challenger}))
        server.wait(name, lambda status: status.get("challenger"))
    broken = add_deployment(store, "broken", 1, make_model(folder / "broken", 3, "broken"))
    store.point(broken.model_copy(update={"sha256": "0" * 64}))
    server.wait("broken", lambda status: status.get("failed_loads"))


def use(server: ModelServer) -> None:
    """Predictions of all outcomes, in batches too, and labels for some."""
    for number in range(6):
        device = f"pump-{number}"
        for name in ("watched", "shadowed"):
            readings = make_readings(number)
            answer = server.predict(name, device=device, readings=readings).json()
            server.http.post(
                f"/v1/models/{name}/feedback",
                json={"prediction_id": answer["prediction_id"], "label": number % 3 != 0},
            )
    body = {"requests": [{"device": "pump-1", "readings": make_readings(9)}]}
    server.http.post("/v1/models/watched/predict-batch?explain=true", json=body)
    for path, value in (("mode", "broken"), ("env", {"temperature": 900})):
        readings = make_readings(1)
        payload = json.loads(readings[-1]["payload"]) | {path: value}
        readings[-1]["payload"] = json.dumps(payload)
        server.predict("watched", device="pump-1", readings=readings)


@needs_prometheus
@needs_node_exporter
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_query_of_a_dashboard_has_data(monitored: Prometheus, path):
    empty = []
    for panel in dashboard(path)["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m")
            series = monitored.query(re.sub(r"\$\w+", ".+", expression))
            if not any(math.isfinite(float(one["value"][1])) for one in series):
                empty.append((panel["title"], expression, series))
    assert empty == []


@needs_prometheus
@needs_node_exporter
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_each_choice_of_a_dashboard_offers_something(monitored: Prometheus, path):
    for variable in dashboard(path)["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
        assert all(one["metric"][label] for one in monitored.query(metric)), variable["name"]
        assert monitored.query(metric), variable["name"]


@needs_prometheus
@needs_node_exporter
def test_alerts_are_made_of_metrics_that_there_are(monitored: Prometheus):
    used = set().union(*(metrics_of(rule["expr"]) for rule in alerts().values()))
    recorded = {name for name in used if monitored.query(f'{{__name__=~".*:{name}:.*"}}')}
    assert len(used) > 10
    assert [name for name in sorted(used - recorded) if not monitored.query(name)] == []


@needs_prometheus
@needs_node_exporter
@pytest.mark.parametrize(
    ("alert", "labels"),
    [
        ("BreezewayModelLoadFailed", {"model": "broken", "severity": "critical"}),
        ("BreezewayDriftFound", {"model_name": "plant", "severity": "warning"}),
        ("BreezewaySensorFault", {"model_name": "plant", "severity": "warning"}),
        ("BreezewayDagRunFailed", {"dag_id": "failing", "severity": "warning"}),
    ],
)
def test_an_alert_fires_of_what_really_happened(monitored: Prometheus, alert, labels):
    matchers = ",".join(f'{name}="{value}"' for name, value in labels.items())
    assert monitored.wait(f'ALERTS{{alertname="{alert}",alertstate="firing",{matchers}}}')


def rendered(chart: Path, *options: str) -> list[dict]:
    values = f"--values={CHART / 'ci' / 'everything.yaml'}"
    done = helm("template", "breezeway", chart, values, "--api-versions=ray.io/v1", *options)
    assert done.returncode == 0, done.stderr
    assert "symbolic link" not in done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def named(manifests: list[dict], kind: str) -> dict[str, dict]:
    return {m["metadata"]["name"]: m for m in manifests if m["kind"] == kind}


def test_the_chart_mounts_the_same_files(chart: Path):
    maps = named(rendered(chart), "ConfigMap")
    dashboards = maps["breezeway-dashboards"]
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert dashboards["data"] == {path.name: path.read_text() for path in DASHBOARDS}
    assert maps["breezeway-rules"]["data"]["breezeway.yaml"].strip() == RULES.read_text().strip()


def test_a_cluster_with_the_operator_gets_its_kinds(chart: Path):
    operator = "--api-versions=monitoring.coreos.com/v1"
    manifests = rendered(chart, operator)
    (rule,) = named(manifests, "PrometheusRule").values()
    assert rule["spec"] == yaml.safe_load(RULES.read_text())
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    monitors = named(manifests, "PodMonitor")
    jobs = [
        endpoint["relabelings"][0]["replacement"]
        for monitor in monitors.values()
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
    ]
    compose = yaml.safe_load(RULES.with_name("prometheus.yml").read_text())
    assert set(jobs) == {job["job_name"] for job in compose["scrape_configs"]} - {"node"}
    pods = [d["spec"]["template"] for d in named(manifests, "Deployment").values()]
    for part in ("serving", "mlflow"):
        spec = monitors[f"breezeway-{part}"]["spec"]
        (pod,) = (p for p in pods if spec["selector"]["matchLabels"].items() <= labels(p).items())
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert spec["podMetricsEndpoints"][0]["port"] in ports
    assert not {m["kind"] for m in rendered(chart)} & {"PodMonitor", "PrometheusRule"}


def labels(pod: dict) -> dict[str, str]:
    return pod["metadata"]["labels"]


def test_monitoring_can_be_left_out(chart: Path):
    names = named(rendered(chart, "--set=monitoring.enabled=false"), "ConfigMap")
    assert not {"breezeway-dashboards", "breezeway-rules"} & names.keys()


def test_airflow_sends_on_a_cluster_what_it_sends_on_one_host():
    values = yaml.safe_load((CHART / "values.yaml").read_text())["airflow"]
    ours = compose_settings("scheduler", "AIRFLOW__METRICS__")
    for name, value in values["config"]["metrics"].items():
        assert ours[f"AIRFLOW__METRICS__{name.upper()}"] == value
    compose = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())
    tag = compose["services"]["statsd"]["image"].rpartition(":")[2]
    assert values["images"]["statsd"]["tag"] == tag


def test_a_package_of_the_chart_holds_them(chart: Path, tmp_path: Path):
    done = helm("package", chart, f"--destination={tmp_path}")
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tgz")
    with tarfile.open(archive) as package:
        names = {name.removeprefix("breezeway/monitoring/") for name in package.getnames()}
    assert {"prometheus/rules.yaml", "grafana/dashboards/service.json"} < names
    assert not any(name.startswith("prometheus/tests") for name in names)
