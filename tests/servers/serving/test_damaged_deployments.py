"""Whatever a deployment holds, the model in service goes on answering."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from breezeway.core.errors import DataError
from breezeway.deployment.store import DeploymentStore
from breezeway.serving import active, loading
from tests.fixtures.fuzz import SECONDS, Round, rounds
from tests.fixtures.serving import ModelServer, add_deployment, examples_of, make_model

NAME = "damaged"


def make(folder: Path, seed: int) -> Path:
    return make_model(folder, seed, model_name=NAME)


@pytest.fixture
def deployment(tmp_path: Path):
    """A store, the folder of a model in it and its pointer."""
    store = DeploymentStore(tmp_path / "store")
    pointer = add_deployment(store, NAME, 1, make(tmp_path / "a", 1))
    return store, store.open(pointer), pointer


def test_a_whole_model_is_proved(deployment) -> None:
    _, folder, pointer = deployment
    loading.prove(folder, pointer)


def test_one_that_scores_otherwise_is_refused_with_the_reason(deployment) -> None:
    _, folder, pointer = deployment
    examples = folder / "extra_files" / "examples.json"
    examples.write_text(examples.read_text().replace('"score": 0.', '"score": 1.', 1))
    with pytest.raises(DataError, match=r"examples.json: \[0\]: the score is"):
        loading.prove(folder, pointer)


@pytest.mark.parametrize(
    ("instead", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
        ("print('x' * 10**7)", "exit code"),
        ("x = bytearray(16 << 30)", "MemoryError"),
        ("while True: pass", "does not load within 3 s"),
        ("import time; time.sleep(60)", "does not load within 3 s"),
    ],
)
def test_what_it_does_to_its_process_is_the_reason(
    deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: str, reason: str
) -> None:
    _, folder, pointer = deployment
    # In place of what a library does with a damaged file.
    (tmp_path / "sitecustomize.py").write_text(
        "import breezeway.serving.loading as loading\n"
        f"def load(*_):\n    {instead}\n"
        "import sys\n"
        "import os, traceback\n"
        "if 'breezeway.serving.loading' in sys.orig_argv:\n"
        "    loading.load = load\n"
        "    try:\n        loading.main()\n"
        "    except BaseException:\n        traceback.print_exc()\n        os._exit(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(loading, "PROOF_SECONDS", 3.0 if "3 s" in reason else 60.0)
    with pytest.raises(DataError, match=reason):
        loading.prove(folder, pointer)


def test_one_that_ended_a_server_is_proved_before_the_next_one_loads_it(
    deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, pointer = deployment
    copy = DeploymentStore(tmp_path / "copy")
    script = f"""
import os, signal
from pathlib import Path
from breezeway.deployment.store import Pointer
from breezeway.serving.loading import remembered
pointer = Pointer.model_validate_json({pointer.model_dump_json()!r})
with remembered(Path({str(copy.folder)!r}), pointer):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    proved = []
    monkeypatch.setattr(active, "prove", lambda _, deployment, niceness: proved.append(deployment))
    store.point(pointer)
    for times in (1, 1):  # it loads, so it has been the server's end by chance
        models = active.ActiveModels()
        models.refresh(store, copy)
        assert models.get(NAME)
        assert len(proved) == times


def mutated(chance: Round, content: bytes) -> bytes:
    """A file with some bytes changed, removed, doubled, or all but a few gone."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 3, 30])):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.choice([1, 8, 1000])]
            case 2:
                data[at:at] = data[at : at + 64] * chance.choice([1, 100])
            case 3:
                data[at : at + 8] = chance.choice([b"\xff" * 8, b"\0" * 8, b"L\x7f\xff\xff\xff"])
            case 4:
                data[at:at] = chance.choice([b"{", b'"', b"[" * 5000, b"9" * 400, b"\n"])
    return bytes(data)


@pytest.mark.fuzz
@pytest.mark.timeout(0 if SECONDS in os.environ else 600)
def test_the_old_model_answers_whatever_the_next_one_holds(
    model_server: ModelServer, tmp_path: Path
) -> None:
    store = model_server.store
    good = add_deployment(store, NAME, 1, make(tmp_path / "good", 1))
    store.point(good)
    model_server.wait(NAME, lambda status: status.get("model_version") == "1")
    example = examples_of(store.open(good))[0]
    request = {name: example[name] for name in ("device", "readings")}
    pid = model_server.worker_pid
    for chance in rounds(6):
        folder = make(tmp_path / f"m{chance.number}", 2)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        # Most of what can crash is in the model itself.
        file = next(f for f in files if f.name == "model.onnx")
        if chance.random() < 0.4:
            file = chance.choice(files)
        file.write_bytes(mutated(chance, file.read_bytes()))
        bad = add_deployment(store, NAME, 2, folder, proved_with="")
        status = model_server.status(NAME)
        failed = status["failed_loads"]
        store.point(bad.model_copy(update={"previous": good}))
        end = time.monotonic() + loading.PROOF_SECONDS + 30
        while status.get("model_version") == "1" and status["failed_loads"] == failed:
            assert time.monotonic() < end, f"round {chance.number}: {status}"
            answer = model_server.predict(NAME, **request)
            assert answer.status_code == 200, f"round {chance.number}: {answer.text}"
            status = model_server.status(NAME)
        assert model_server.predict(NAME, **request).status_code == 200
        store.point(good)
        model_server.wait(NAME, lambda status: status.get("model_version") == "1", 30)
        shutil.rmtree(store.folder / NAME / bad.deployment)
    assert model_server.worker_pid == pid
