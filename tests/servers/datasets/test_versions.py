"""Dataset versions on real git repositories and DVC remotes, each failure made, not faked."""

import hashlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import s3fs

from breezeway.core.errors import (
    BreezewayError,
    DataError,
    ServiceUnavailable,
    TryAgain,
    UsageError,
)
from breezeway.core.locks import exclusive
from breezeway.core.settings import Settings
from breezeway.datasets import dvc_objects, versions
from breezeway.datasets.dvc_objects import object_path
from breezeway.datasets.workspace import Workspace
from tests.fixtures import ROOT
from tests.fixtures.disk import small_disk
from tests.fixtures.processes import new_port
from tests.fixtures.s3 import s3_server

SPAWN = multiprocessing.get_context("spawn")
PART = "features/part-00000.parquet"


def make_folder(folder: Path, seed: int = 1, part_bytes: int = 50_000) -> Path:
    """A dataset folder of two parts; only the second depends on the seed."""
    (folder / "features").mkdir(parents=True)
    (folder / PART).write_bytes(random.Random(0).randbytes(part_bytes))
    (folder / "features/part-00001.parquet").write_bytes(random.Random(seed).randbytes(part_bytes))
    (folder / "manifest.json").write_text(json.dumps({"rows": 10 * seed, "query": "SELECT 1"}))
    return folder


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def flip_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(0o444)  # as DVC has it: it trusts read-only files


def forget(settings: Settings) -> None:
    """Drop what this machine keeps of the data, as on a new one."""
    for folder in (settings.dvc_cache, settings.root / "datasets"):
        shutil.rmtree(folder)


def log(settings: Settings, *arguments: str) -> list[str]:
    command = ["git", "--git-dir", settings.repository_address, "log", "--format=%s", *arguments]
    return subprocess.check_output(command, text=True).splitlines()


@pytest.fixture(scope="session")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("published") / "a home"
    versions.publish(Settings(home=home), make_folder(home / "source"), "v1", "First")
    return home


@pytest.fixture
def published(published_once: Path, tmp_path: Path) -> Settings:
    """A store of its own that holds the version `v1`, of the folder `source` below its root."""
    shutil.copytree(published_once, tmp_path / "a home")
    return Settings(home=tmp_path / "a home", lock_wait_seconds=60)


@pytest.fixture
def empty(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", lock_wait_seconds=60)


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An S3 server with the bucket `datasets`, known to all that ask for one."""
    (tmp_path / "s3" / "datasets").mkdir(parents=True)
    with s3_server(tmp_path / "s3", "key", "secret") as url:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }.items():
            monkeypatch.setenv(name, value)
        yield


# Publishing and opening


def test_opens_what_was_published(published: Settings) -> None:
    version = versions.open_dataset(published, "v1")

    source = published.root / "source"
    assert versions.file_hashes(version.folder) == versions.file_hashes(source)
    assert version.hash == versions.folder_hash(versions.file_hashes(source))
    assert version.manifest == json.loads((source / "manifest.json").read_text())
    assert (version.tag, version.message, version.params_tag) == ("v1", "First", None)
    assert os.listdir(published.work) == []


def test_anyone_can_read_it_with_git_and_dvc_alone(published: Settings, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    # The copied store lies elsewhere than where `v1` was committed.
    configuration = ["remote", "modify", "--local", "storage", "url", published.remote_address]
    environment = {**os.environ, "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    address = published.repository_address
    subprocess.run(["git", "clone", "-q", "-b", "v1", address, str(clone)], check=True)
    for arguments in (configuration, ["pull"]):
        subprocess.run(
            [sys.executable, "-m", "dvc", *arguments], cwd=clone, env=environment, check=True
        )
    assert versions.file_hashes(clone / "data") == versions.file_hashes(published.root / "source")


def test_dvc_itself_would_write_the_same(empty: Settings, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder")
    (folder / "é ü").mkdir()
    (folder / "é ü" / "*.txt").write_text("odd")
    (folder / "again.parquet").write_bytes((folder / PART).read_bytes())
    (folder / "empty").touch()
    versions.publish(empty, folder, "v1")

    environment = {**os.environ, "DVC_SITE_CACHE_DIR": str(tmp_path / "site")}
    (tmp_path / "dvc").mkdir()
    shutil.copytree(folder, tmp_path / "dvc" / "data")
    for arguments in (["init", "--quiet", "--no-scm"], ["add", "--quiet", "data"]):
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=tmp_path / "dvc", env=environment, check=True)

    command = ["git", "--git-dir", empty.repository_address, "show", "v1:data.dvc"]
    assert subprocess.check_output(command) == (tmp_path / "dvc" / "data.dvc").read_bytes()
    theirs = versions.file_hashes(tmp_path / "dvc" / ".dvc" / "cache" / "files")
    assert versions.file_hashes(empty.dvc_cache / "files") == theirs
    assert versions.file_hashes(Path(empty.remote_address)) == {
        f"files/{name}": hash for name, hash in theirs.items()
    }
    modes = {path.stat().st_mode & 0o777 for path in files_of(empty.dvc_cache)}
    assert modes == {path.stat().st_mode & 0o777 for path in files_of(tmp_path / "dvc/.dvc/cache")}


def test_an_s3_remote(
    empty: Settings, tmp_path: Path, s3: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = empty.model_copy(update={"dataset_remote": "s3://datasets/remote"})
    with monkeypatch.context() as environment:
        environment.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(ServiceUnavailable, match="takes no data"):
            versions.publish(settings, make_folder(tmp_path / "folder"), "v1")
    assert not versions.tag_exists(settings, "v1")

    versions.publish(settings, tmp_path / "folder", "v1")
    forget(settings)
    opened = versions.open_dataset(settings, "v1")
    assert versions.file_hashes(opened.folder) == versions.file_hashes(tmp_path / "folder")


def test_the_folder_stays_as_it_was(empty: Settings, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "folder")
    before = {path: (path.stat()[:7], path.stat().st_mtime_ns) for path in files_of(folder)}
    versions.publish(empty, folder, "v1")
    assert before == {path: (path.stat()[:7], path.stat().st_mtime_ns) for path in files_of(folder)}
    (folder / PART).write_bytes(b"other")
    assert versions.open_dataset(empty, "v1").folder.joinpath(PART).stat().st_size == 50_000


def test_versions_share_their_files(empty: Settings, tmp_path: Path) -> None:
    for seed in (1, 2):
        versions.publish(empty, make_folder(tmp_path / str(seed), seed), f"v{seed}")
    first, second = (versions.open_dataset(empty, tag).folder for tag in ("v1", "v2"))
    assert (first / PART).samefile(second / PART)


def test_same_content_under_the_same_tag_does_nothing(published: Settings) -> None:
    before = versions.find_version(published, "v1")
    assert versions.publish(published, published.root / "source", "v1") == before
    assert log(published, "main") == ["First"]


def test_other_content_under_the_same_tag_is_refused(published: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'v1' stands for other data already \(10 rows"):
        versions.publish(published, make_folder(tmp_path / "other", seed=2), "v1")
    assert log(published, "main") == ["First"]


def test_git_itself_refuses_to_move_or_delete(published: Settings, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", published.repository_address, str(clone)], check=True)
    author = ["-c", "user.name=x", "-c", "user.email=x@x"]
    amend = ["git", *author, "commit", "-q", "--amend", "-m", "moved"]
    subprocess.run(amend, cwd=clone, check=True)
    for reference in (":refs/tags/v1", "HEAD:refs/tags/v1", "HEAD:main", ":main"):
        push = ["git", "push", "-q", "--force", "origin", reference]
        assert subprocess.run(push, cwd=clone, check=False).returncode, reference


@pytest.mark.parametrize("tag", ["", "-x", "a b", "a/b", "a..b", "x.lock", "v1-params-1", "é"])
def test_illegal_tag(empty: Settings, tmp_path: Path, tag: str) -> None:
    with pytest.raises(UsageError, match="is not a dataset tag"):
        versions.publish(empty, make_folder(tmp_path / "folder"), tag)


def test_nothing_to_publish(empty: Settings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no file"):
        versions.publish(empty, tmp_path / "absent", "v1")


def test_unknown_tag_names_the_nearest(published: Settings) -> None:
    with pytest.raises(UsageError, match="no dataset tag 'v2'; there are, for example: v1"):
        versions.open_dataset(published, "v2")


def test_before_anything_is_published(empty: Settings) -> None:
    assert versions.list_versions(empty) == []
    assert not versions.tag_exists(empty, "v1")
    with pytest.raises(UsageError, match="nothing has been published yet"):
        versions.open_dataset(empty, "v1")


def test_looking_is_light(published: Settings) -> None:
    code = (
        "import sys; from breezeway.core.settings import Settings\n"
        "from breezeway.datasets import versions\n"
        "assert versions.tag_exists(Settings(), 'v1')\n"
        "assert not versions.tag_exists(Settings(), 'v')\n"
        "print([m for m in ('dvc', 'mlflow', 'numpy', 'pandas') if m in sys.modules])"
    )
    environment = {
        **os.environ,
        "BREEZEWAY_HOME": str(published.root),
    }
    output = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert output.strip() == "[]"


# Damage


def test_flipped_byte_in_the_remote(published: Settings) -> None:
    files = versions.file_hashes(published.root / "source")
    forget(published)
    flip_byte(object_path(Path(published.remote_address), files[PART]))
    with pytest.raises(DataError, match=f"{PART} is damaged or missing in the remote"):
        versions.open_dataset(published, "v1")
    assert not (published.root / "datasets").exists()


def test_a_file_that_is_gone_from_the_remote(published: Settings) -> None:
    forget(published)
    hash = dvc_objects.file_hash(published.root / "source" / PART)
    object_path(Path(published.remote_address), hash).unlink()
    with pytest.raises(DataError, match=f"{PART} is damaged or missing in the remote"):
        versions.open_dataset(published, "v1")


@pytest.mark.usefixtures("s3")
def test_a_file_that_is_gone_from_an_s3_remote(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", dataset_remote="s3://datasets/plant")
    folder = make_folder(tmp_path / "folder")
    versions.publish(settings, folder, "v1")
    forget(settings)
    hash = dvc_objects.file_hash(folder / PART)
    s3fs.S3FileSystem().rm(str(object_path(Path("datasets/plant"), hash)))
    with pytest.raises(DataError, match=f"{PART} is damaged or missing in the remote"):
        versions.open_dataset(settings, "v1")


def test_flipped_byte_in_the_cache_is_repaired_from_the_remote(published: Settings) -> None:
    home = versions.open_dataset(published, "v1").folder
    files = versions.file_hashes(home)
    (home / "stray").touch()
    flip_byte(home / PART)
    flip_byte(object_path(published.dvc_cache, files[PART]))
    assert versions.file_hashes(home) != files

    assert versions.file_hashes(versions.open_dataset(published, "v1").folder) == files


def test_flipped_byte_in_the_cache_is_not_published(published: Settings, tmp_path: Path) -> None:
    other = make_folder(tmp_path / "other", seed=2)
    part = versions.file_hashes(other)[PART]
    flip_byte(object_path(published.dvc_cache, part))
    flip_byte(object_path(Path(published.remote_address), part))

    versions.publish(published, other, "v2")
    forget(published)
    folder = versions.open_dataset(published, "v2").folder
    assert versions.file_hashes(folder) == versions.file_hashes(other)


@pytest.mark.parametrize("change", ["other bytes", "one more", "one less"])
def test_a_folder_that_changes_meanwhile_is_refused(
    empty: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    folder = make_folder(tmp_path / "folder")
    keep, once, changed = dvc_objects._keep, threading.Lock(), []

    def keep_too_late(*arguments: object) -> None:
        with once:  # files are kept by several threads
            if not changed:
                change_folder()
            changed.append(change)
        keep(*arguments)

    def change_folder() -> None:
        if change == "other bytes":
            flip_byte(folder / PART)
        elif change == "one more":
            (folder / "late.parquet").touch()
        else:
            (folder / PART).unlink()

    monkeypatch.setattr(dvc_objects, "_keep", keep_too_late)
    with pytest.raises(DataError, match="while it was being published"):
        versions.publish(empty, folder, "v1")
    assert versions.list_versions(empty) == []
    assert os.listdir(empty.work) == []


def test_a_remote_that_keeps_other_bytes_is_found(
    empty: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "folder")
    copy = dvc_objects._copy

    def copy_badly(source: Path, copies: list[Path]) -> dvc_objects.Content:
        content = copy(source, copies)
        flip_byte(copies[-1])
        return content

    with monkeypatch.context() as bad:
        bad.setattr(dvc_objects, "_copy", copy_badly)
        with pytest.raises(ServiceUnavailable, match=r"dvc-remote/.* does not hold what was writt"):
            versions.publish(empty, folder, "v1")
    assert versions.list_versions(empty) == []
    assert files_of(Path(empty.remote_address)) == []
    versions.publish(empty, folder, "v1")


# Stores that are away


def test_repository_away(empty: Settings, tmp_path: Path) -> None:
    url = f"git://127.0.0.1:{new_port()}/datasets.git"
    for address in (url, str(tmp_path / "unmounted" / "datasets.git")):
        settings = empty.model_copy(update={"dataset_repository": address})
        calls: list[Callable[[], object]] = [
            lambda s=settings: versions.tag_exists(s, "v1"),
            lambda s=settings: versions.open_dataset(s, "v1"),
            lambda s=settings: versions.publish(s, ROOT / "tests" / "fixtures", "v1"),
        ]
        for call in calls:
            with pytest.raises(ServiceUnavailable, match="The dataset repository"):
                call()


def test_remote_away(published: Settings, tmp_path: Path) -> None:
    forget(published)
    Path(published.remote_address).rename(tmp_path / "away")
    with pytest.raises(ServiceUnavailable, match=r"The dataset remote .* is not there"):
        versions.open_dataset(published, "v1")

    unmounted = published.model_copy(update={"dataset_remote": str(tmp_path / "no" / "remote")})
    with pytest.raises(ServiceUnavailable, match=r"The dataset remote .* is not there"):
        versions.publish(unmounted, make_folder(tmp_path / "other", seed=2), "v2")
    assert not versions.tag_exists(published, "v2")


def test_disk_full(tmp_path: Path) -> None:
    source = make_folder(tmp_path / "source", part_bytes=1_000_000)
    with small_disk(tmp_path / "disk", "3m") as disk:
        here = Settings(home=disk / "home")
        remote = Settings(home=tmp_path / "home", dataset_remote=str(disk / "remote"))
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(1_500_000))

        for settings in (here, remote):
            with pytest.raises(ServiceUnavailable, match=r"[Nn]o space is left"):
                versions.publish(settings, source, "v1")
            assert versions.list_versions(settings) == []

        ballast.unlink()
        shutil.rmtree(here.root)
        versions.publish(remote, source, "v1")
        forget(remote)
        assert versions.open_dataset(remote, "v1").tag == "v1"


# More than one at a time


def publish_in_process(settings: Settings, folder: Path, tag: str) -> str:
    return versions.publish(settings, folder, tag).commit


def open_in_process(settings: Settings, tag: str) -> dict[str, str]:
    return versions.file_hashes(versions.open_dataset(settings, tag).folder)


def test_two_publish_at_once_and_both_succeed(empty: Settings, tmp_path: Path) -> None:
    one, two = make_folder(tmp_path / "one", seed=1), make_folder(tmp_path / "two", seed=2)
    with ProcessPoolExecutor(3, mp_context=SPAWN) as pool:
        jobs = [
            pool.submit(publish_in_process, empty, folder, tag)
            for folder, tag in ((one, "v1"), (two, "v2"), (one, "v1"))
        ]
        commits = [job.result() for job in jobs]
    assert commits[0] == commits[2] != commits[1]
    assert sorted(log(empty, "main")) == ["Dataset v1", "Dataset v2"]
    assert [entry.tag for entry in versions.list_versions(empty)] == ["v1", "v2"]


def test_several_open_at_once_on_a_new_machine(published: Settings) -> None:
    forget(published)
    with ProcessPoolExecutor(3, mp_context=SPAWN) as pool:
        opened = list(pool.map(open_in_process, [published] * 3, ["v1"] * 3))
    assert opened == [versions.file_hashes(published.root / "source")] * 3


def test_a_publisher_on_another_host_was_faster(
    published: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Settings(
        home=tmp_path / "elsewhere",
        dataset_repository=published.repository_address,
        dataset_remote=published.remote_address,
    )
    push = Workspace.push

    def push_after_the_other(space: Workspace, *names: str) -> bool:
        monkeypatch.setattr(Workspace, "push", push)
        versions.publish(elsewhere, make_folder(tmp_path / "other", seed=2), "v2")
        return push(space, *names)

    monkeypatch.setattr(Workspace, "push", push_after_the_other)
    versions.publish(published, make_folder(tmp_path / "mine", seed=3), "v3")

    assert log(published, "main") == ["Dataset v3", "Dataset v2", "First"]
    assert versions.find_version(published, "v3").manifest["rows"] == 30
    assert versions.find_version(published, "v2").manifest["rows"] == 20


def test_a_publisher_that_waits_too_long_tries_again_later(published: Settings) -> None:
    impatient = published.model_copy(update={"lock_wait_seconds": 0.2})
    code = (
        "import sys, time; from pathlib import Path; from breezeway.core.settings import Settings\n"
        "from breezeway.core.locks import exclusive\n"
        "with exclusive(Settings(home=Path(sys.argv[1])), 'datasets'):\n"
        "    print(flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(published.root)],
        stdout=subprocess.PIPE,
    )
    try:
        holder.stdout.readline()
        with pytest.raises(TryAgain, match=r"held 'datasets' for 0\.2 s"):
            versions.publish(impatient, published.root / "source", "v1")
    finally:
        holder.kill()
        holder.wait()
    with exclusive(impatient, "datasets"):
        pass  # the dead one's lock is free


# Killed


def half_copied(settings: Settings, listing: Path) -> bool:
    return any(settings.work.glob(".workspace-*/incoming/1"))


def tree_filled(settings: Settings, listing: Path) -> bool:
    return any(settings.work.glob(".workspace-*/tree/data/features/*"))


def cached(settings: Settings, listing: Path) -> bool:
    return (settings.dvc_cache / listing).exists()


def pushed(settings: Settings, listing: Path) -> bool:
    return (Path(settings.remote_address) / listing).exists()


POINTS = {point.__name__: point for point in (half_copied, tree_filled, cached, pushed)}


def publish_and_die(home: Path, folder: Path, point: str, listing: Path) -> None:
    """Publish, and be killed with all children as soon as a point is passed."""
    settings, looking = Settings(home=home), threading.Lock()

    def look(event: str, arguments: tuple[object, ...]) -> None:
        # The interpreter tells of each file that is opened, renamed and so on; of ours too.
        if looking.acquire(blocking=False):
            if POINTS[point](settings, listing):
                os.killpg(0, signal.SIGKILL)
            looking.release()

    sys.addaudithook(look)
    versions.publish(settings, folder, "v1")


@pytest.mark.parametrize("point", POINTS)
def test_killed_while_publishing_then_run_again(
    empty: Settings, tmp_path: Path, point: str
) -> None:
    folder = make_folder(tmp_path / "folder")
    content = versions.folder_hash(versions.file_hashes(folder))
    listing = object_path(Path(), content)
    code = (
        "import sys; from pathlib import Path\n"
        f"from {__name__} import publish_and_die\n"
        "publish_and_die(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))"
    )
    publisher = subprocess.run(
        [sys.executable, "-c", code, str(empty.root), str(folder), point, str(listing)],
        cwd=ROOT,
        start_new_session=True,
        check=False,
    )
    assert publisher.returncode == -signal.SIGKILL
    assert any(empty.work.iterdir())
    left = list(Path(empty.remote_address).glob(".incoming-*"))
    assert left or point != "half_copied"
    for aside in left:
        os.utime(aside, (0, 0))  # days ago

    versions.publish(empty, folder, "v1")
    opened = versions.open_dataset(empty, "v1")
    assert opened.hash == content
    assert log(empty, "main") == ["Dataset v1"]
    assert list(empty.work.iterdir()) == []
    assert os.listdir(empty.remote_address) == ["files"]


def test_killed_while_git_moved_a_ref(published: Settings, tmp_path: Path) -> None:
    lock = Path(published.repository_address) / "refs/heads/main.lock"
    lock.touch()
    os.utime(lock, (time.time() - 3600,) * 2)
    (published.root / "params.json").write_text("{}")
    versions.publish(published, make_folder(tmp_path / "other", seed=2), "v2")
    assert not lock.exists()


# Parameters


def write_params(folder: Path, depth: int) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "params.json").write_text(json.dumps({"params": {"max_depth": depth}}))
    (folder / "tuning.png").write_bytes(random.Random(depth).randbytes(100))
    (folder / "notes.txt").write_text("not published")
    return folder


def test_parameters_are_a_commit_on_their_data(published: Settings, tmp_path: Path) -> None:
    first = versions.publish_params(published, write_params(tmp_path / "w", 3), "v1")
    second = versions.publish_params(published, write_params(tmp_path / "w", 4), "v1")
    again = versions.publish_params(published, write_params(tmp_path / "w", 3), "v1")

    assert (first.params_tag, second.params_tag) == ("v1-params-1", "v1-params-2")
    assert again == first
    assert first.tag == "v1" and first.commit == versions.find_version(published, "v1").commit
    assert log(published, "v1-params-2") == ["Parameters v1-params-2", "First"]
    assert log(published, "main") == ["First"]
    command = ["git", "--git-dir", published.repository_address, "ls-tree", "--name-only"]
    names = subprocess.check_output([*command, "v1-params-1"], text=True).split()
    assert {"params.json", "tuning.png", "data.dvc"} <= set(names) and "notes.txt" not in names

    assert versions.open_dataset(published, "v1").params == {"params": {"max_depth": 4}}
    older = versions.open_dataset(published, "v1-params-1")
    assert older.params == {"params": {"max_depth": 3}} and older.tag == "v1"
    assert older.params_commit == first.params_commit
    assert versions.tag_exists(published, "v1-params-2")
    [entry] = versions.list_versions(published)
    assert entry.params_tags == ("v1-params-1", "v1-params-2")


def test_two_publish_parameters_at_once(published: Settings, tmp_path: Path) -> None:
    folders = [write_params(tmp_path / str(depth), depth) for depth in (3, 4, 3)]
    with ProcessPoolExecutor(3, mp_context=SPAWN) as pool:
        found = list(pool.map(versions.publish_params, [published] * 3, folders, ["v1"] * 3))
    assert found[0].params_tag == found[2].params_tag != found[1].params_tag
    assert [version.params["params"]["max_depth"] for version in found] == [3, 4, 3]


@pytest.mark.parametrize(
    ("content", "tag", "error"),
    [
        (None, "v1", UsageError),
        ("{}", "v2", UsageError),
        ("[]", "v1", DataError),
        ("{", "v1", DataError),
    ],
)
def test_parameters_refused(
    published: Settings, tmp_path: Path, content: str | None, tag: str, error: type[BreezewayError]
) -> None:
    if content is not None:
        (tmp_path / "params.json").write_text(content)
    with pytest.raises(error):
        versions.publish_params(published, tmp_path, tag)


def test_the_tenth_parameters_follow_the_ninth(published: Settings, tmp_path: Path) -> None:
    for number in (9, 10):
        command = ["git", "--git-dir", published.repository_address, "tag"]
        subprocess.run([*command, f"v1-params-{number}", "v1"], check=True)
    version = versions.publish_params(published, write_params(tmp_path / "w", 3), "v1")
    assert version.params_tag == "v1-params-11"
    assert versions.find_version(published, "v1").params_tag == "v1-params-11"


def test_by_no_ones_configuration_but_ours(
    published: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "pre-push", "commit-msg"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(
        f"[core]\nhooksPath = {hooks}\n[commit]\ngpgSign = true\n[user]\nname = Someone\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", str(tmp_path))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Someone")
    versions.publish_params(published, write_params(tmp_path / "w", 3), "v1")
    monkeypatch.delenv("GIT_DIR")
    assert log(published, "-1", "--format=%an %ae", "v1-params-1") == [
        "Breezeway breezeway@localhost"
    ]
    monkeypatch.delenv("HOME")
    assert versions.publish_params(published, write_params(tmp_path / "w", 4), "v1").params_tag


def test_a_tag_that_is_no_version(published: Settings, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    author = ["-c", "user.name=x", "-c", "user.email=x@x"]
    for command in (
        ["git", "clone", "-q", published.repository_address, str(clone)],
        ["git", "-C", str(clone), "rm", "-q", "data.dvc"],
        ["git", "-C", str(clone), *author, "commit", "-q", "-m", "by hand"],
        ["git", "-C", str(clone), *author, "tag", "-a", "-m", "annotated", "by-hand"],
        ["git", "-C", str(clone), "push", "-q", "origin", "by-hand"],
    ):
        subprocess.run(command, check=True)
    with pytest.raises(DataError, match="'by-hand' is not that of a dataset version"):
        versions.open_dataset(published, "by-hand")


# Hostile stores


def publish_hostile(settings: Settings, listing: bytes, hash: str | None = None) -> None:
    """Make the tag `hostile`, whose list of files has these bytes, as whoever may write both
    the repository and the remote can."""
    hash = hash or f"{hashlib.md5(listing).hexdigest()}.dir"
    remote = Path(settings.remote_address)
    if re.fullmatch(r"[0-9a-f]{32}\.dir", hash):
        path = object_path(remote, hash)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(listing)
    push_commit(settings, "hostile", {"data.dvc": json.dumps({"outs": [{"md5": hash}]})})


def push_commit(settings: Settings, tag: str, files: dict[str, str]) -> None:
    clone = settings.root / f"clone-{tag}"
    git = ["git", "-C", str(clone), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run(["git", "clone", "-q", settings.repository_address, str(clone)], check=True)
    for name, text in files.items():
        (clone / name).unlink(missing_ok=True)
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            (clone / name).symlink_to(text.removeprefix("-> "))
        else:
            (clone / name).write_text(text)
    for command in (["add", "-A", "-f"], ["commit", "-q", "-m", tag], ["tag", tag]):
        subprocess.run([*git, *command], check=True)
    subprocess.run([*git, "push", "-q", "origin", "HEAD", tag], check=True)


@pytest.fixture
def payload(published: Settings) -> str:
    """The hash of a file that the remote holds."""
    return dvc_objects.file_hash(published.root / "source" / PART)


OUTSIDE = "../../../../victim"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([OUTSIDE], "is not a path of a file"),
        (["a/../../../../../victim"], "is not a path of a file"),
        (["/victim"], "is not a path of a file"),
        ([""], "is not a path of a file"),
        (["."], "is not a path of a file"),
        (["a//b"], "is not a path of a file"),
        (["a\0b"], "is not a path of a file"),
        (["a\\..\\b"], "is not a path of a file"),
        (["\ud800"], "is not a path of a file"),
        (["x" * 300], "is not a path of a file"),
        (["é" * 200], "is too long"),
        (["a", "a/b"], "'a' is both a file and a folder"),
        (["a", "a"], "'a' is there twice"),
        (["a", "A"], "are one file on some disks"),
        ([5], "is not one of DVC"),
        ([None], "is not one of DVC"),
        ([["a"]], "is not one of DVC"),
    ],
)
def test_a_listing_that_leads_elsewhere_is_refused_before_anything_is_written(
    published: Settings, payload: str, names: list, reason: str
) -> None:
    publish_hostile(
        published, json.dumps([{"md5": payload, "relpath": name} for name in names]).encode()
    )
    forget(published)
    before = {path for path in published.root.parent.rglob("*") if "locks" not in path.parts}
    with pytest.raises(DataError, match=reason):
        versions.open_dataset(published, "hostile")
    after = {path for path in published.root.parent.rglob("*") if "locks" not in path.parts}
    listed = [path for path in after - before if path.is_file()]
    assert [path.suffix for path in listed] == [".dir"]  # the list itself, in the cache


@pytest.mark.parametrize(
    "listing",
    [
        b"",
        b"{}",
        b"null",
        b"5",
        b'["a"]',
        b'[{"relpath": "a"}]',
        b'[{"md5": "x"}]',
        b'[{"md5": "../../../../../../victim", "relpath": "a"}]',
        b'[{"md5": "00000000000000000000000000000000.dir", "relpath": "a"}]',
        b'[{"md5": 5, "relpath": "a"}]',
        b"[" * 200_000,
        b"\xff\xfe",
        b'[{"md5": ' + b"9" * 5000 + b', "relpath": "a"}]',
    ],
)
def test_a_listing_that_is_none_of_dvc_is_refused(published: Settings, listing: bytes) -> None:
    victim = published.root.parent / "victim"
    victim.write_text("precious")
    publish_hostile(published, listing)
    with pytest.raises(DataError):
        versions.open_dataset(published, "hostile")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    "hash",
    ["../../../../victim.dir", "/victim.dir", "", ".dir", "0" * 32, f"{'A' * 32}.dir", "x\0"],
)
def test_a_version_whose_hash_is_a_path_is_refused(published: Settings, hash: str) -> None:
    publish_hostile(published, b"[]", hash or "''")
    with pytest.raises(DataError, match=r"no hash in data\.dvc"):
        versions.open_dataset(published, "hostile")


def test_of_a_data_dvc_only_the_hash_is_used(published: Settings) -> None:
    hash = versions.find_version(published, "v1").hash
    outs = [
        {"md5": hash, "hash": "md5", "path": OUTSIDE, "remote": "other"},
        {"md5": hash, "hash": "md5", "path": "/tmp/victim"},
    ]
    text = json.dumps({"wdir": "..", "outs": outs, "deps": [{"path": "/etc/passwd"}]})
    push_commit(published, "hostile", {"data.dvc": text})
    forget(published)
    opened = versions.open_dataset(published, "hostile")
    assert versions.folder_hash(versions.file_hashes(opened.folder)) == hash
    assert not list(published.root.parent.rglob("victim"))


@pytest.mark.parametrize("name", ["data.dvc", ".gitignore", ".dvc/config", "manifest.json"])
def test_a_link_in_the_repository_is_not_written_through(
    published: Settings, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    push_commit(published, "hostile", {name: f"-> {victim}"})
    versions.publish(published, make_folder(tmp_path / "two", 2), "v2")
    assert victim.read_text() == "precious"


def test_a_link_in_tags_of_data_is_not_written_through_by_parameters(
    published: Settings, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    push_commit(published, "hostile", {"params.json": f"-> {victim}"})
    versions.publish_params(published, write_params(tmp_path / "params", 3), "hostile")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["data.dvc/x", "data/x", "data", ".dvc", "DATA.dvc"])
def test_a_repository_that_leaves_no_place_for_a_version_is_refused(
    published: Settings, tmp_path: Path, name: str
) -> None:
    clone = ["data.dvc", ".dvc/config", ".dvc/.gitignore"]
    files = {name: "x"}
    if name == "data.dvc/x" or name == ".dvc":
        remove(published, clone)
    push_commit(published, "hostile", files)
    with pytest.raises(DataError, match="FETCH_HEAD"):
        versions.publish(published, make_folder(tmp_path / "two", 2), "v2")


def remove(settings: Settings, names: list[str]) -> None:
    clone = settings.root / "clone-remove"
    git = ["git", "-C", str(clone), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run(["git", "clone", "-q", settings.repository_address, str(clone)], check=True)
    subprocess.run([*git, "rm", "-q", *names], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "remove"], check=True)
    subprocess.run([*git, "push", "-q", "origin", "HEAD"], check=True)


@pytest.mark.parametrize("kind", ["blob", "tree"])
def test_a_tag_that_is_no_commit(published: Settings, tmp_path: Path, kind: str) -> None:
    git = ["git", "--git-dir", published.repository_address]
    name = "v1:data.dvc" if kind == "blob" else "v1^{tree}"
    subprocess.run([*git, "tag", "odd", name], check=True)
    with pytest.raises(DataError, match="'odd' is not that of a dataset version"):
        versions.open_dataset(published, "odd")


@pytest.mark.parametrize("tag", ["main", "HEAD", "a/b", "1" * 40])
def test_a_name_that_git_reads_otherwise_is_no_version(published: Settings, tag: str) -> None:
    subprocess.run(
        ["git", "--git-dir", published.repository_address, "update-ref", f"refs/tags/{tag}", "v1"],
        check=True,
    )
    assert [version.tag for version in versions.list_versions(published)] == ["v1"]
    with pytest.raises(UsageError, match="There is no dataset tag"):
        versions.find_version(published, tag)


def test_a_file_that_other_disks_cannot_hold_is_not_published(
    empty: Settings, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "folder")
    (folder / "Manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"'manifest\.json' and 'Manifest\.json' are one file"):
        versions.publish(empty, folder, "v1")
    assert versions.list_versions(empty) == []
