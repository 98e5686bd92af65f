"""What `breezeway doctor` finds: each trouble is planted on a machine that is otherwise well."""

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from breezeway.core.errors import UsageError
from breezeway.core.settings import Settings
from breezeway.laptop import doctor
from breezeway.laptop.processes import mark
from breezeway.readings.store import open_store
from tests.fixtures.processes import new_port

ROOT = Path(__file__).parents[3]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A home without trouble, on a machine where all usual ports are free."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("BREEZEWAY_HOME", str(home))
    monkeypatch.setattr(doctor, "FIRST_PORTS", {"airflow": new_port(), "mlflow": new_port()})
    monkeypatch.setattr(doctor, "MEMORY_BYTES", 1)  # whatever the machine of the tests has
    monkeypatch.setattr(doctor, "DISK_BYTES", 1)
    return Settings(home=home, dags=ROOT / "dags")


def found(settings: Settings) -> list[tuple[str, str]]:
    return [(trouble.about, trouble.found) for trouble in doctor.examine(settings)]


def test_a_machine_that_is_well_has_no_trouble(settings, capsys):
    assert found(settings) == []
    doctor.run(type("Arguments", (), {"json": False}), settings)
    assert "Nothing is wrong" in capsys.readouterr().out
    assert list(settings.root.iterdir()) == [], "to look changes nothing"


def no_git(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(settings.root))


def no_memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MEMORY_BYTES", psutil.virtual_memory().total + 1)


def full_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_BYTES", shutil.disk_usage(settings.root).total + 1)


def few_files(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OPEN_FILES", resource.getrlimit(resource.RLIMIT_NOFILE)[0] + 1)


def mistyped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREEZEWAY_RAWURL", "mysql+pymysql://me:secret@db/raw")


def open_home(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.root.chmod(0o755)


def home_is_a_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.root.rmdir()
    settings.root.write_text("")


def no_keys(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (settings.root / "postgres" / "data").mkdir(parents=True)


def killed(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"],
        capture_output=True,
        text=True,
        check=True,
    )
    (settings.root / "run").mkdir()
    running = {f"{part}_url": "http://127.0.0.1:9" for part in doctor.HEALTH}
    (settings.root / "run" / "platform.json").write_text(
        json.dumps(running | {"process": int(dead.stdout)})
    )


def silent(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (settings.root / "run").mkdir()
    running = {f"{part}_url": f"http://127.0.0.1:{new_port()}" for part in doctor.HEALTH}
    (settings.root / "run" / "platform.json").write_text(
        json.dumps(running | {"process": os.getpid()})
    )


PLANTED: dict[Callable[[Settings, pytest.MonkeyPatch], None], list[str]] = {
    no_git: ["Programs: git is not found"],
    no_memory: ["Memory: .* GB of memory are free; the platform takes up to"],
    full_disk: ["Disk: .* GB are free at .*home; a platform needs"],
    few_files: [r"Open files: A process may open \d+ files"],
    mistyped: ["Settings: The variable BREEZEWAY_RAWURL is set"],
    open_home: ["Home: .*home has the mode 755"],
    home_is_a_file: ["Home: .*home cannot be written to"],
    no_keys: [r"Home: .*keys\.json is gone, and with it the password"],
    killed: [r"Leftovers: .*platform\.json names a platform \(process \d+\) that is not there"],
    silent: [f"Platform: {part} gives no good answer" for part in doctor.HEALTH],
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_trouble_is_named_with_what_to_do(plant, settings, monkeypatch):
    plant(settings, monkeypatch)
    troubles = list(doctor.examine(settings))
    if plant is full_disk:
        troubles = troubles[:1]  # the folder of temporary files may be another disk
    assert len(troubles) == len(PLANTED[plant])
    for trouble, pattern in zip(troubles, PLANTED[plant], strict=True):
        assert re.match(pattern, f"{trouble.about}: {trouble.found}")
        assert trouble.advice.endswith(".")
        assert "secret" not in f"{trouble}"


def test_a_taken_port_is_named_with_its_owner(settings):
    with socket.socket() as other:
        other.bind(("127.0.0.1", doctor.FIRST_PORTS["mlflow"]))
        other.listen()
        ((about, sentence),) = found(settings)
    assert about == "Ports"
    assert f"the usual one of mlflow, is taken by {psutil.Process().name()}" in sentence


def test_what_a_killed_platform_left_is_counted(settings):
    left = subprocess.Popen(
        [sys.executable, "-c", "input()"],
        stdin=subprocess.PIPE,
        env={**os.environ, **mark(settings.root)},
    )
    try:
        ((about, sentence),) = found(settings)
    finally:
        left.kill()
        left.communicate()
    assert about == "Leftovers"
    assert sentence.startswith("Of an earlier start these still run: ")
    assert sentence.endswith(" (1).")


def test_packages_are_those_that_the_distribution_asks_for():
    asked = [
        "numpy>=1; extra == 'preprocess'",
        "breezeway[preprocess]; extra == 'laptop'",
        "no-such-package; extra == 'laptop'",
        "never-asked-for; extra == 'other'",
        "psutil<1",
    ]
    (trouble,) = doctor.packages(asked)
    present = psutil.__version__
    assert trouble.found == f"no-such-package is not installed; psutil is {present}, not <1."


def test_the_folder_of_the_dags_is_looked_at(settings, tmp_path):
    away = settings.model_copy(update={"dags": tmp_path})
    ((about, sentence),) = found(away)
    assert (about, sentence) == ("DAGs", f"{tmp_path} holds no DAGs of Breezeway (no pools.json).")


def test_a_wrong_contract_and_a_store_that_is_away_or_empty(settings, tmp_path):
    contract = tmp_path / "pump.toml"
    contract.write_text('name = "pump"\nnonsense = 1\n')
    own = settings.model_copy(update={"sensors": contract})
    ((about, sentence),) = found(own)
    assert about == "Contract" and "nonsense" in sentence

    shutil.copy(Settings.shipped_sensors / "plant.toml", contract)
    assert found(own) == [("Raw store", "There are no readings yet.")]
    away = Settings(
        home=settings.home,
        dags=settings.dags,
        raw_url=f"postgresql+psycopg://me:secret@127.0.0.1:{new_port()}/raw",
    )
    ((about, sentence),) = found(away)
    assert about == "Raw store" and "secret" not in sentence
    reading = {"device": ["m-1"], "time": [datetime(2026, 5, 1)], "payload": ["{}"]}
    store = open_store(own)
    store.create()
    assert found(own) == [("Raw store", "There are no readings yet.")]
    store.append(pa.table(reading))
    assert found(own) == []


def test_troubles_are_printed_and_end_with_an_exit_code(settings, monkeypatch, capsys):
    no_git(settings, monkeypatch)
    for as_json in (True, False):
        with pytest.raises(UsageError, match="One trouble was found"):
            doctor.run(type("Arguments", (), {"json": as_json}), settings)
        printed = capsys.readouterr().out
        said = json.loads(printed)[0]["advice"] if as_json else printed
        assert "Install git" in said
