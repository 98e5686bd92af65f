"""No image carries a package that its component does not import.

What is installed is compared with the code, for each extra of pyproject.toml and, where
BREEZEWAY_TEST_RUN is a command such as `docker run --rm`, inside the images that `make images` made
(BREEZEWAY_TEST_IMAGES: `[<registry>/]<project>`, by default `breezeway`).
"""

import ast
import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from breezeway.core.settings import quiet_environment
from tests.fixtures import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

STEPS = ("preprocess", "tune", "train", "test", "deploy")
STARTS = {
    **{step: [ROOT / f"include/breezeway/steps/{step}.py"] for step in STEPS},
    "serving": [ROOT / "include/breezeway/serving/service.py"],
    "airflow": [*ROOT.glob("dags/*.py"), *ROOT.glob("plugins/breezeway_airflow/*.py")],
}
"""Component → where its code begins."""
STARTS["deploy"] += STARTS["serving"]  # a Bento is made of it
LENT = {"preprocess": ["labels"], "test": ["drift", "backtest", "score"], "deploy": ["canary"]}
"""Component → the steps that run in its image too."""
for component, steps in LENT.items():
    STARTS[component] += [ROOT / f"include/breezeway/steps/{step}.py" for step in steps]

NAMED = {
    "apache-airflow": "brings the distributions that Airflow consists of",
    "asyncpg": "Airflow's driver, named in an address",
    "apache-airflow-providers-standard": "its own DAGs and operators",
    "dvc": "run as `python -m dvc`",
    "filelock": "of every component but the model server",
    "httptools": "uvicorn takes it where it is",
    "jinja2": "draws the page of `preprocess`; `test` has what that step has",
    "psycopg2-binary": "Airflow's driver, named in an address",
    "pandas": "imported by MLflow's `pyfunc`, which BentoML imports",
    "statsd": "Airflow's client, if its metrics are on",
    "pyyaml": "of all that reads datasets; Ray and BentoML bring it to the others",
    "tzdata": "the zones that a contract may name: files, and no code",
    "uvloop": "uvicorn takes it where it is",
    "uv": "BentoML looks for it when it builds a Bento",
}
"""Required, but not by an `import`."""

MODULES = {
    **{step: f"breezeway.steps.{step}" for step in STEPS},
    "preprocess": "breezeway.steps.preprocess, breezeway.steps.labels, "
    "breezeway.preprocessing.days, breezeway.preprocessing.profile_page",
    "tune": "breezeway.steps.tune, breezeway.detector.search, breezeway.detector.plots",
    "train": "breezeway.steps.train, breezeway.detector.model, breezeway.detector.plots",
    "test": "breezeway.steps.test, breezeway.pipeline.evaluation, breezeway.steps.drift, "
    "breezeway.pipeline.nightly, breezeway.steps.backtest, breezeway.pipeline.backtest, "
    "breezeway.steps.score, breezeway.pipeline.batch_scoring, "
    "evidently.presets",
    "deploy": "breezeway.steps.deploy, breezeway.steps.canary, breezeway.serving.loading, "
    "breezeway.detector.scoring, scipy.special",
    "serving": "breezeway.serving.server, breezeway.serving.service, breezeway.detector.scoring",
    "airflow": "airflow, breezeway.datasets.versions, breezeway.pipeline.preview, "
    "breezeway.tracking.champions, psycopg, pymysql, adbc_driver_postgresql",
    "mlflow": "mlflow.server.fastapi_app, mlflow.server.auth, psycopg2, boto3, "
    "prometheus_flask_exporter",
    "notebook": "jupyterhub, jupyterlab, breezeway.datasets.versions, breezeway.readings.store, "
    "breezeway.steps.train",
}
"""Component → what its image must be able to import."""

ASK = """
import json, os, sys
from importlib.metadata import distributions
import {modules}
print(json.dumps(dict(
    user=[os.getuid(), os.getgid()], code=os.environ.get("BREEZEWAY_CODE"),
    installed={{d.name: d.requires or [] for d in distributions()}},
)))
"""

FORBIDDEN = re.compile(r"torch|tensorflow|nvidia-(?!ml-py).*|cuda.*|pyspark|xgboost|pip")
"""`xgboost` is the one that brings CUDA; ours is `xgboost-cpu`. BentoML needs `nvidia-ml-py`, which
only asks whether there is a GPU."""

RUN = os.environ.get("BREEZEWAY_TEST_RUN")
IMAGES = os.environ.get("BREEZEWAY_TEST_IMAGES", "breezeway")
needs_images = pytest.mark.skipif(not RUN, reason="needs images: BREEZEWAY_TEST_RUN is not set")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(extra: str) -> dict[str, set[str]]:
    """What pyproject.toml names for an extra, and for all: distribution → its extras."""
    found: dict[str, set[str]] = {}
    for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]:
        need = Requirement(line)
        if need.name == PROJECT["name"]:
            for other in need.extras:
                found |= requirements(other)
        else:
            found[normal(need.name)] = need.extras
    return found


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, at its top or later, but not for its types alone."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(starts: list[Path]) -> set[str]:
    """Distributions that this code, and what it imports of ours, imports."""
    to_read, read, modules = list(starts), set(), set()
    while to_read:
        path = to_read.pop()
        if path in read:
            continue
        read.add(path)
        for name in imports(path):
            modules.add(name.partition(".")[0])
            own = ROOT / "include" / Path(*name.split("."))
            to_read += [p for p in (own.with_suffix(".py"), own / "__init__.py") if p.is_file()]
    return {owner for module in modules for owner in owners().get(module, ())}


@cache
def owners() -> dict[str, set[str]]:
    """Module → distributions that it belongs to."""
    return {name: set(map(normal, found)) for name, found in packages_distributions().items()}


def required(roots: dict[str, set[str]], installed: dict[str, list[str]]) -> set[str]:
    """The distributions that these need, with the extras of each, and they themselves."""
    seen, to_see = set(), [(name, extra) for name in roots for extra in {"", *roots[name]}]
    while to_see:
        name, extra = to_see.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for line in installed.get(name, []):
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                to_see += [(normal(need.name), other) for other in {"", *need.extras}]
    return {name for name, _ in seen}


@pytest.mark.parametrize("component", STARTS)
def test_each_requirement_is_imported(component: str) -> None:
    found = imported(STARTS[component])
    assert requirements(component).keys() - found <= NAMED.keys()


def test_what_a_bento_names_is_installed_where_it_is_built() -> None:
    """Its versions are those of the environment that builds it: the deploy image."""
    source = STARTS["serving"][0].read_text("utf-8")
    named = next(
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGES"
    )
    bentoml = {
        normal(need.name)
        for need in map(Requirement, distribution("bentoml").requires)
        if need.marker is None or need.marker.evaluate({"extra": ""})
    }
    assert set(named) <= requirements("deploy").keys() | bentoml


def test_base_image_is_as_quiet_as_the_settings() -> None:
    text = (ROOT / "docker/base/Dockerfile").read_text("utf-8")
    for name, value in quiet_environment().items():
        assert f"{name}={value}" in text


def test_build_names_images_for_a_registry_and_pushes_them() -> None:
    environment = os.environ | {
        "BUILD": "echo build",
        "REGISTRY": "harbor.example",
        "TAG": "v1",
        "PUSH": "1",
    }
    command = [str(ROOT / "docker/build"), "train", "airflow"]
    said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    images = "harbor.example/breezeway"
    assert f"build -t {images}/base:v1-git -f docker/base/Dockerfile --target git ." in said.stdout
    assert f"build -t {images}/train:v1 -f docker/train/Dockerfile --build-arg" in said.stdout
    pushed = [line for line in said.stdout.splitlines() if line.startswith("push")]
    assert pushed == [
        f"push {images}/{name}" for name in ("train:v1", "airflow:v1", "airflow:v1-steps")
    ]


def test_compose_reads_what_its_example_names() -> None:
    compose = (ROOT / "docker/compose.yaml").read_text("utf-8")
    example = (ROOT / "docker/.env.example").read_text("utf-8")
    read = set(re.findall(r"\$\{([A-Z_]+)", compose))
    assert read == set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    secret = {name for name in read if not name.startswith("BREEZEWAY_")}
    assert secret == set(re.findall(r"\$\{([A-Z_]+):\?}", compose))  # none has a default


@needs_images
@pytest.mark.parametrize("component", MODULES)
def test_image_holds_what_it_needs_and_no_more(component: str) -> None:
    image = f"{IMAGES}/{component}:{PROJECT['version']}"
    script = ASK.format(modules=MODULES[component])
    command = [*shlex.split(RUN), "--entrypoint", "python", image, "-c", script]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=250, check=True)
    said = json.loads(done.stdout.splitlines()[-1])
    installed = {normal(name): requires for name, requires in said["installed"].items()}
    assert said["user"] == [50000, 0]
    own = set() if component == "mlflow" else {PROJECT["name"]}
    assert installed.keys() == own | installed.keys() & required(requirements(component), installed)
    assert [name for name in installed if FORBIDDEN.fullmatch(name)] == []
