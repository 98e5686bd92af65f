"""Backups of a home, and homes made of them: hostile and damaged files, kills, locks."""

import gzip
import io
import os
import signal
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from breezeway.core.errors import DataError, TryAgain, UsageError
from breezeway.core.settings import Settings
from breezeway.datasets import versions
from breezeway.pipeline.backups import KEYS, LIST, back_up, restore
from tests.fixtures.processes import eventually

KEYS_TEXT = '{"database": "s3cret"}'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home of a stopped platform, without a database."""
    home = tmp_path / "a home"
    (home / "run").mkdir(parents=True)
    (home / KEYS).write_text(KEYS_TEXT)
    artifacts = home / "mlflow-artifacts" / "1"
    artifacts.mkdir(parents=True)
    (artifacts / "model.onnx").write_bytes(bytes(range(256)) * 100)
    (home / "work").mkdir()
    (home / "work" / "left.parquet").write_text("half")
    with sqlite3.connect(home / "raw.db") as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE readings (payload TEXT)")
        store.executemany("INSERT INTO readings VALUES (?)", [(f"{n}",) for n in range(1000)])
    return home


@pytest.fixture
def backup(home: Path, tmp_path: Path) -> Path:
    file = tmp_path / "backup.tar.gz"
    back_up(Settings(home=home), file)
    return file


def readings(home: Path) -> int:
    with sqlite3.connect(home / "raw.db") as store:
        return int(store.execute("SELECT count(*) FROM readings").fetchone()[0])


def test_a_restored_home_holds_what_was_backed_up_and_nothing_that_is_made_again(
    home: Path, backup: Path, tmp_path: Path
) -> None:
    new = tmp_path / "another home"
    result = restore(Settings(home=new), backup)
    assert result["home"] == str(new)
    assert (new / KEYS).read_text() == KEYS_TEXT
    artifact = "mlflow-artifacts/1/model.onnx"
    assert (new / artifact).read_bytes() == (home / artifact).read_bytes()
    assert not (new / "work").exists()
    assert result["files"] == sum(path.is_file() for path in new.rglob("*"))
    assert readings(new) == 1000
    open_to_others = [path for path in [new, *new.rglob("*")] if path.stat().st_mode & 0o077]
    assert [path for path in open_to_others if path.is_dir()] == []


def test_only_its_owner_may_read_a_backup(backup: Path) -> None:
    assert backup.stat().st_mode & 0o777 == 0o600


def test_dataset_versions_are_in_a_backup(plant_home: Path, tmp_path: Path) -> None:
    (plant_home / "run").mkdir(exist_ok=True)
    (plant_home / KEYS).write_text(KEYS_TEXT)
    file, new = tmp_path / "backup.tar.gz", Settings(home=tmp_path / "new")
    back_up(Settings(home=plant_home), file)
    restore(new, file)
    found = versions.open_dataset(new, "v1")
    assert found.hash == versions.open_dataset(Settings(home=plant_home), "v1").hash
    assert found.folder.is_relative_to(new.root)


def test_a_store_while_it_is_written_to_is_copied_as_it_is_at_one_moment(
    home: Path, tmp_path: Path
) -> None:
    with sqlite3.connect(home / "raw.db") as writer:
        writer.execute("INSERT INTO readings VALUES ('not yet')")
        back_up(Settings(home=home), tmp_path / "backup.tar.gz")
    new = tmp_path / "new"
    restore(Settings(home=new), tmp_path / "backup.tar.gz")
    assert (readings(new), readings(home)) == (1000, 1001)


def test_a_contract_of_ones_own_is_in_the_backup(home: Path, tmp_path: Path) -> None:
    contract = tmp_path / "pump.toml"
    contract.write_text('name = "pump"\n')
    file, new = tmp_path / "backup.tar.gz", tmp_path / "new"
    back_up(Settings(home=home, sensors=contract), file)
    found = restore(Settings(home=new), file)["sensors"]
    assert Path(found).read_text() == contract.read_text()
    assert Path(found).is_relative_to(new)


def test_stores_that_are_elsewhere_are_named_without_their_passwords(
    home: Path, tmp_path: Path
) -> None:
    elsewhere = Settings(
        home=home,
        raw_url="mysql+pymysql://me:s3cret@db.example/plant",
        dataset_repository="https://me:s3cret@git.example/data.git",
        dataset_remote="s3://bucket/data",
    )
    result = back_up(elsewhere, tmp_path / "backup.tar.gz")
    assert result["not_in_it"] == [
        "raw store: mysql+pymysql://db.example/plant",
        "repository of dataset versions: https://git.example/data.git",
        "files of datasets: s3://bucket/data",
    ]


# What is refused


def test_a_home_without_a_platform_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no platform was started there"):
        back_up(Settings(home=tmp_path / "new"), tmp_path / "backup.tar.gz")


def test_a_file_that_exists_is_not_replaced(home: Path, backup: Path) -> None:
    before = backup.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        back_up(Settings(home=home), backup)
    assert backup.read_bytes() == before


def test_a_folder_that_is_missing_is_named(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*nowhere"):
        back_up(Settings(home=home), tmp_path / "nowhere" / "backup.tar.gz")


def test_a_platform_that_starts_is_waited_for_by_trying_again(home: Path, tmp_path: Path) -> None:
    with (
        FileLock(home / "run" / "launcher.lock"),
        pytest.raises(TryAgain, match="starting or stopping"),
    ):
        back_up(Settings(home=home), tmp_path / "backup.tar.gz")


def test_a_home_that_holds_something_is_not_touched(home: Path, backup: Path) -> None:
    with pytest.raises(UsageError, match="is not empty"):
        restore(Settings(home=home), backup)
    assert readings(home) == 1000


def refused(file: Path, new: Path, match: str) -> None:
    with pytest.raises(DataError, match=match):
        restore(Settings(home=new), file)
    assert not new.exists()
    assert [path for path in new.parent.iterdir() if ".restored-" in path.name] == []


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9])
def test_a_backup_that_is_cut_off_is_refused(backup: Path, tmp_path: Path, share: float) -> None:
    content = backup.read_bytes()
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(content[: int(share * len(content))])
    refused(cut, tmp_path / "new", "is no backup, or is not whole")


@pytest.mark.parametrize("share", [0.05, 0.35, 0.6, 0.95])
def test_a_backup_with_a_damaged_byte_is_refused(
    backup: Path, tmp_path: Path, share: float
) -> None:
    content = bytearray(backup.read_bytes())
    content[int(share * len(content))] ^= 0xFF
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(content)
    refused(damaged, tmp_path / "new", "is no backup, or is not whole|is not what was backed up")


def test_a_damage_between_the_files_is_refused(backup: Path, tmp_path: Path) -> None:
    packed = backup.read_bytes()
    with tarfile.open(backup) as tar:
        keys = tar.getmember(KEYS)
    content = bytearray(gzip.decompress(packed))
    content[keys.offset_data + keys.size] ^= 0xFF  # padding up to the next member
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(gzip.compress(content)[:-8] + packed[-8:])  # the checksum as it was
    refused(damaged, tmp_path / "new", "is no backup, or is not whole: CRC check failed")


def test_what_follows_the_end_of_a_backup_is_not_read(backup: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer.tar.gz"
    longer.write_bytes(gzip.compress(gzip.decompress(backup.read_bytes()) + bytes(20_000)))
    refused(longer, tmp_path / "new", "more follows its end")


Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]


def changed(backup: Path, file: Path, change: Change) -> Path:
    """A backup with other members, well formed."""
    with tarfile.open(backup) as source:
        members = [(m, (source.extractfile(m) or io.BytesIO()).read()) for m in source]
    change(members)
    with tarfile.open(file, "w:gz") as target:
        for member, content in members:
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return file


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "added",
    [
        member("../outside"),
        member("a/../../outside"),
        member("/tmp/outside-of-a-home"),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.SYMTYPE, "../../outside"),
        member("hard", tarfile.LNKTYPE, KEYS),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
        member(KEYS),
        member(f"{KEYS}/below"),
        member("raw.db", tarfile.DIRTYPE),
        member("n" * 300),
        member("not listed"),
    ],
    ids=lambda info: f"{info.name[:30]}-{info.type.decode()}",
)
def test_a_member_that_no_backup_has_is_refused(
    backup: Path, tmp_path: Path, added: tarfile.TarInfo
) -> None:
    file = changed(backup, tmp_path / "hostile.tar.gz", lambda all: all.insert(-1, (added, b"")))
    refused(file, tmp_path / "folder" / "new", "hostile.tar.gz")
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "folder" / "outside").exists()


def test_a_file_that_was_replaced_is_named(backup: Path, tmp_path: Path) -> None:
    def replace(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        (place,) = [n for n, (m, _) in enumerate(members) if m.name.endswith("model.onnx")]
        members[place] = (members[place][0], b"another model")

    file = changed(backup, tmp_path / "replaced.tar.gz", replace)
    refused(file, tmp_path / "new", r"'mlflow-artifacts/1/model.onnx' is not what was backed up")


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"\xff", b'{"release": 1}'])
def test_a_list_that_is_damaged_is_named(backup: Path, tmp_path: Path, text: bytes) -> None:
    def replace(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[-1] = (members[-1][0], text)

    refused(changed(backup, tmp_path / "list.tar.gz", replace), tmp_path / "new", LIST)


@pytest.mark.parametrize(
    "content", [b"", b"text", gzip.compress(b"no archive", mtime=0), b"\x1f\x8b\x08"]
)
def test_another_file_is_no_backup(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other"
    file.write_bytes(content)
    refused(file, tmp_path / "new", "is no backup, or is not whole")


def test_a_backup_that_is_killed_leaves_no_file_of_its_name(home: Path, tmp_path: Path) -> None:
    with (home / "mlflow-artifacts" / "large").open("wb") as large:
        large.write(os.urandom(64 << 20))
    file = tmp_path / "backup.tar.gz"
    process = subprocess.Popen(
        [sys.executable, "-m", "breezeway", "backup", str(file)],
        env=os.environ | {"BREEZEWAY_HOME": str(home)},
    )
    eventually(lambda: any(p.stat().st_size for p in tmp_path.glob(".backup.tar.gz.*")), 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not file.exists()
    back_up(Settings(home=home), file)
    restore(Settings(home=tmp_path / "new"), file)
    assert readings(tmp_path / "new") == 1000
