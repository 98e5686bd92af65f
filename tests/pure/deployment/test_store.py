"""The deployment store: what it verifies, and what a kill leaves behind."""

import hashlib
import json
from pathlib import Path

import pytest

from breezeway.core.errors import DataError
from breezeway.deployment import store as store_module
from breezeway.deployment.store import Challenger, Deployment, DeploymentStore
from tests.fixtures.pointers import pointer_to


@pytest.fixture
def store(tmp_path: Path) -> DeploymentStore:
    return DeploymentStore(tmp_path / "deployments")


@pytest.fixture
def content(tmp_path: Path) -> Path:
    folder = tmp_path / "content"
    (folder / "models" / "pump").mkdir(parents=True)
    (folder / "models" / "pump" / "model.ubj").write_bytes(b"trees")
    (folder / "bento.yaml").write_text("name: pump")
    return folder


def record(number: int = 1) -> Deployment:
    return Deployment(
        model_name="pump",
        model_version=str(number),
        deployment=f"{number}-abc",
        bento=f"pump:{number}-abc",
        data_tag="v1",
        model_folder="models/pump",
    )


def test_a_deployment_is_read_back_through_its_pointer(store, content):
    store.point(store.add(content, record()))
    pointer = store.pointer("pump")
    assert (pointer.model_version, pointer.bento, pointer.data_tag) == ("1", "pump:1-abc", "v1")
    assert (store.open(pointer) / "model.ubj").read_bytes() == b"trees"
    assert store.models() == ["pump"]


def test_an_empty_store_has_no_models(store):
    assert store.models() == []
    assert store.pointer("pump") is None
    assert store.find("pump", "1-abc") is None


@pytest.mark.parametrize("name", ["models/pump/model.ubj", "bento.yaml", "deployment.json"])
def test_a_flipped_byte_is_found_and_named(store, content, name):
    pointer = store.add(content, record())
    path = store.folder / "pump" / "1-abc" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(DataError, match=f"1-abc/{name}: the file is not what was deployed"):
        store.open(pointer)
    assert store.find("pump", "1-abc") is None


def test_a_missing_file_is_found_and_named(store, content):
    pointer = store.add(content, record())
    (store.folder / "pump" / "1-abc" / "models" / "pump" / "model.ubj").unlink()
    with pytest.raises(DataError, match=r"model\.ubj: the file is missing"):
        store.open(pointer)


def test_a_harmed_deployment_is_replaced(store, content):
    store.add(content, record())
    (store.folder / "pump" / "1-abc" / "bento.yaml").unlink()
    assert store.open(store.add(content, record())).is_dir()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "Invalid JSON"),
        ("{}", "model_name: Field required"),
        ('{"model_name": "../x"}', "model_name: String should match"),
    ],
)
def test_an_unreadable_pointer_is_an_error(store, content, text, reason):
    store.point(store.add(content, record()))
    (store.folder / "pump" / "current.json").write_text(text)
    with pytest.raises(DataError, match=f"pump/current.json: .*{reason}"):
        store.pointer("pump")


def test_a_pointer_of_another_model_is_an_error(store, content):
    pointer = store.add(content, record())
    (store.folder / "mill").mkdir()
    (store.folder / "mill" / "current.json").write_text(pointer.model_dump_json())
    with pytest.raises(DataError, match="it is for pump"):
        store.pointer("mill")


def test_a_record_cannot_lead_out_of_its_deployment(store, content):
    pointer = store.add(content, record())
    path = store.folder / "pump" / "1-abc" / "deployment.json"
    harmful = json.loads(path.read_text()) | {"model_folder": "../../elsewhere"}
    path.write_text(json.dumps(harmful))
    with pytest.raises(DataError, match="not what was deployed"):
        store.open(pointer)
    assert store.find("pump", "1-abc") is None


def test_what_a_killed_add_left_is_neither_seen_nor_kept(store, content):
    left = store.folder / "pump" / ".new-1-abc"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    assert store.models() == []
    store.add(content, record())
    assert not left.exists()
    assert not (store.folder / "pump" / "1-abc" / "half").exists()


def test_the_way_back_is_the_latest_that_was_seen_to_work(store, content):
    first = store.add(content, record(1)).verified()
    second = store.add(content, record(2)).model_copy(update={"previous": first})
    assert second.last_good() == first
    assert second.verified().last_good().deployment == "2-abc"
    store.point(second)
    store.point_back("pump", store.pointer("pump").previous)
    assert store.pointer("pump").deployment == "1-abc"
    store.point_back("pump", None)
    assert store.pointer("pump") is None


def test_old_deployments_go_but_not_those_that_the_pointer_names(store, content):
    first = store.add(content, record(1)).verified()
    pointers = [store.add(content, record(number)) for number in range(2, 9)]
    store.point(pointers[-1].model_copy(update={"previous": first}))
    store.prune("pump")
    left = {path.parent.name for path in store.folder.glob("pump/*/deployment.json")}
    kept = range(9 - store_module.KEPT_DEPLOYMENTS, 9)
    assert left == {"1-abc", *(f"{number}-abc" for number in kept)}


def test_a_kept_deployment_is_whole_and_the_only_one(store, content, tmp_path):
    copy = DeploymentStore(tmp_path / "copy")
    for number in (1, 2):
        pointer = store.add(content, record(number))
        copy.keep(store, pointer)
        copy.keep(store, pointer)  # nothing to do
        assert copy.pointer("pump") == pointer
        assert copy.open(copy.pointer("pump")).is_dir()
    assert [path.parent.name for path in copy.folder.glob("*/*/deployment.json")] == [
        pointer.deployment
    ]


def test_what_cannot_be_kept_leaves_what_was(store, content, tmp_path, monkeypatch):
    copy = DeploymentStore(tmp_path / "copy")
    first = store.add(content, record(1))
    copy.keep(store, first)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module.shutil, "copytree", full)
    with pytest.raises(OSError, match="No space left"):
        copy.keep(store, store.add(content, record(2)))
    assert copy.pointer("pump") == first
    assert copy.open(first).is_dir()


def test_a_challenger_is_kept_by_pruning_and_forgotten_by_the_way_back(store, content):
    champion, challenger = (store.add(content, record(number)) for number in (1, 2))
    on_trial = Challenger.of(challenger, "canary", 0.1)
    pointer = champion.verified().model_copy(update={"challenger": on_trial})
    store.point(pointer)
    for number in range(3, 10):
        store.add(content, record(number))
    store.prune("pump")
    assert store.open(store.pointer("pump").challenger).is_dir()
    assert store.pointer("pump").last_good().challenger is None


def test_a_name_that_is_no_folder_name_is_refused():
    with pytest.raises(ValueError, match="model_name"):
        pointer_to(1, model_name="../pump")


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "a\\b", "a/./b", "MODELS/pump/model.ubj"])
def test_a_record_that_names_another_place_is_refused(store, content, path):
    pointer = store.add(content, record())
    file = store.folder / "pump" / "1-abc" / "deployment.json"
    hostile = json.loads(file.read_text())
    hostile["files"][path] = "0" * 64
    text = json.dumps(hostile).encode()
    file.write_bytes(text)
    pointer = pointer.model_copy(update={"sha256": hashlib.sha256(text).hexdigest()})
    with pytest.raises(DataError, match=r"1-abc/deployment\.json: files: "):
        store.open(pointer)
    assert store.find("pump", "1-abc") is None


def test_a_link_in_a_deployment_is_refused_though_its_content_is_right(store, content, tmp_path):
    pointer = store.add(content, record())
    file = store.folder / "pump" / "1-abc" / "bento.yaml"
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"bento\.yaml: it leads to another place by a link"):
        store.open(pointer)


def test_a_link_in_a_bento_is_not_deployed(store, content, tmp_path):
    (content / "models" / "link").symlink_to(tmp_path)
    with pytest.raises(DataError, match="models/link is a link"):
        store.add(content, record())
    assert store.find("pump", "1-abc") is None


def services(store: DeploymentStore) -> list[str]:
    return [service.model_version for service in store.services("pump")]


def test_what_was_in_service_is_recorded_in_order(store, content):
    """A version that did not work is no part of it, and a rollback is one more entry."""
    for number in (1, 2):
        store.point(store.add(content, record(number)).verified())
    good = store.pointer("pump")
    store.point(store.add(content, record(3)))
    assert services(store) == ["1", "2"]
    store.point_back("pump", good)
    assert services(store) == ["1", "2"]
    again = store.find("pump", "1-abc")
    store.point(again)
    store.point(again.verified())
    assert services(store) == ["1", "2", "1"]
    since = [service.since for service in store.services("pump")]
    assert since == sorted(since)
    assert since[1:] == [good.deployed_at, again.deployed_at]


def test_a_store_from_before_the_record_knows_what_serves_now(store, content):
    store.point(store.add(content, record(1)).verified())
    assert services(store) == ["1"]
    assert not (store.folder / "pump" / "services.json").exists()
    assert store.services("fan") == []


def test_a_trial_is_no_service(store, content):
    store.point(store.add(content, record(1)).verified())
    champion = store.pointer("pump")
    trial = Challenger.of(store.add(content, record(2)), "canary", 0.1)
    store.point(champion.model_copy(update={"challenger": trial}))
    store.point(champion)
    assert services(store) == ["1"]


def test_a_kill_between_record_and_pointer_counts_nothing_twice(store, content, monkeypatch):
    store.point(store.add(content, record(1)).verified())
    with monkeypatch.context() as killed:
        killed.setattr(DeploymentStore, "_move", lambda self, pointer: None)
        store.point(store.add(content, record(2)).verified())
    assert services(store) == ["1"]
    store.point(store.add(content, record(2)).verified())
    assert services(store) == ["1", "2"]


def test_a_damaged_record_is_named_and_does_not_stop_a_deployment(store, content):
    store.point(store.add(content, record(1)).verified())
    file = store.folder / "pump" / "services.json"
    file.write_text("[{}]")
    with pytest.raises(DataError, match=r"pump/services.json: 0.model_version: .*delete it"):
        store.services("pump")
    store.point(store.add(content, record(2)).verified())
    assert services(store) == ["1", "2"]
    assert file.with_name("services.json.damaged").read_text() == "[{}]"


def test_the_record_is_bounded(store, content, monkeypatch):
    monkeypatch.setattr(store_module, "KEPT_SERVICES", 2)
    for number in range(1, 6):
        store.point(store.add(content, record(number)).verified())
    assert services(store) == ["3", "4", "5"]
