"""The deployment store: all deployments, and the pointer to those in service.

    <store>/<model>/current.json                  the pointer: small, replaced atomically
    <store>/<model>/services.json                 what was in service before, and since when
    <store>/<model>/<deployment>/deployment.json  the record: SHA-256 of every file beside it
    <store>/<model>/<deployment>/…                a Bento with its models inside

A deployment never changes. The pointer holds the SHA-256 of the record, and the record those of
the files, so a reader of the pointer can check that the files are what was deployed.
Writers hold a lock for each model (`lock_name`); readers need none.
"""

import hashlib
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from breezeway.core.errors import DataError
from breezeway.core.names import MODEL_NAME, PATH, paths_mistake

SCORE_TOLERANCE = 1e-6
"""Allowed difference between the score of an example in training and in service: scores are
float32, and two builds of ONNX Runtime may differ in the last bits."""

KEPT_DEPLOYMENTS = 5
"""The number of latest deployments on disk; a rollback to one of them needs no build."""

KEPT_SERVICES = 1000
"""The number of latest entries of what was in service."""


def _inside(path: str) -> str:
    if mistake := PATH.mistake(path):
        raise ValueError(mistake)
    return path


def _one_folder(files: dict[str, str]) -> dict[str, str]:
    if mistake := paths_mistake(files):
        raise ValueError(mistake)
    return files


Name = Annotated[str, Field(pattern=MODEL_NAME.form_pattern)]
"""Names of models and deployments: both are folder names, parts of addresses and Bento tags."""
RelativePath = Annotated[str, AfterValidator(_inside)]


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model_name: Name
    model_version: str
    deployment: Name
    bento: str
    data_tag: str


class Deployment(_Named):
    """The record of one deployment.

    `model_folder` is the MLflow model among its `files`; the keys of both are relative
    paths, the values of `files` SHA-256 in hex.
    """

    model_folder: RelativePath
    files: Annotated[dict[str, str], AfterValidator(_one_folder)] = {}


class Served(_Named):
    """A deployment as in a pointer, in any role.

    `proved_with` names the software with which it has been loaded; empty if it has not.
    """

    sha256: str
    deployed_at: AwareDatetime
    proved_with: str = ""


class Challenger(Served):
    """A deployment on trial beside the champion.

    `canary` and `bandit` answer for a `share` (0 to 1) of the devices; the step `canary` changes
    the share of a bandit. `shadow` scores what the champion answers, only for the comparison.
    """

    mode: Literal["canary", "shadow", "bandit"]
    share: Annotated[float, Field(ge=0, le=1)] = 0.0

    @classmethod
    def of(cls, pointer: "Pointer", mode: str, share: float = 0.0) -> "Challenger":
        """Put a deployment on trial that `DeploymentStore.add` or `find` returned."""
        served = pointer.model_dump(include=set(cls.model_fields))
        return cls.model_validate({**served, "mode": mode, "share": share})


class Pointer(Served):
    """Which deployment of a model is in service.

    `verified_at` is empty until the deployment has answered on a running server; until then,
    `previous` is the one to go back to.
    """

    verified_at: AwareDatetime | None = None
    previous: Self | None = None
    challenger: Challenger | None = None

    def verified(self) -> "Pointer":
        return self.model_copy(update={"verified_at": datetime.now(UTC)})

    def last_good(self) -> "Pointer | None":
        """The latest deployment that is known to work, without its own `previous`."""
        if self.verified_at is None:
            return self.previous
        return self.model_copy(update={"previous": None, "challenger": None})


class Service(BaseModel):
    """Which deployment of a model went into service, and when."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model_version: str
    deployment: Name
    since: AwareDatetime

    @classmethod
    def of(cls, pointer: Pointer) -> "Service":
        return cls(
            model_version=pointer.model_version,
            deployment=pointer.deployment,
            since=pointer.deployed_at,
        )


_SERVICES = TypeAdapter(list[Service])


class DeploymentStore:
    """A deployment store in a folder.

    Args:
        folder: created when the first deployment is added.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def models(self) -> list[str]:
        """Names of the models that have a pointer."""
        return sorted(path.parent.name for path in self.folder.glob("[!.]*/current.json"))

    def pointer(self, model_name: str) -> Pointer | None:
        """The model's pointer; None if there is none.

        Raises:
            DataError: it cannot be read.
        """
        path = self.folder / model_name / "current.json"
        try:
            pointer = Pointer.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "content"
            raise DataError(f"{model_name}/current.json: {where}: {first['msg']}") from None
        if pointer.model_name != model_name:
            raise DataError(f"{model_name}/current.json: it is for {pointer.model_name}.")
        return pointer

    def find(self, model_name: str, deployment: str) -> Pointer | None:
        """An unverified pointer to a deployment; None if it is incomplete or damaged."""
        path = self.folder / model_name / deployment / "deployment.json"
        try:
            content = path.read_bytes()
            pointer = _pointer(Deployment.model_validate_json(content), content)
            self.open(pointer)
        except (FileNotFoundError, ValidationError, DataError):
            return None
        return pointer

    def add(self, content: Path, deployment: Deployment) -> Pointer:
        """Copy a Bento into the store; an existing one of the same name is replaced.

        Args:
            content: folder of the exported Bento.
            deployment: its record; the files are filled in here.

        Returns:
            An unverified pointer to it, which is not set yet.

        Raises:
            DataError: the path of a file is not allowed, or a link.
        """
        model_name, name = deployment.model_name, deployment.deployment
        self._remove_leftovers(model_name)
        aside = self.folder / model_name / f".new-{name}"
        files: dict[str, str] = {}
        paths = sorted(path for path in content.rglob("*") if path.is_symlink() or path.is_file())
        if mistake := paths_mistake([path.relative_to(content).as_posix() for path in paths]):
            raise DataError(f"The Bento of {deployment.bento} is refused: {mistake}.")
        for path in paths:
            if path.is_symlink():
                raise DataError(f"The Bento of {deployment.bento} is refused: {path} is a link.")
            copy = aside / path.relative_to(content)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            files[copy.relative_to(aside).as_posix()] = _sha256(copy)
        record = deployment.model_copy(update={"files": files})
        text = record.model_dump_json(indent=1).encode()
        (aside / "deployment.json").write_bytes(text)
        self._remove(model_name, name)
        aside.replace(self.folder / model_name / name)
        return _pointer(record, text)

    def open(self, served: Served) -> Path:
        """The folder of the MLflow model in service, with every file verified.

        Raises:
            DataError: a file is missing or has changed; the message names it.
        """
        folder = self.folder / served.model_name / served.deployment
        self._verify(served, folder / "deployment.json", served.sha256)
        try:
            record = Deployment.model_validate_json((folder / "deployment.json").read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{served.model_name}/{served.deployment}/deployment.json: {where}: {first['msg']}."
            ) from None
        for name, digest in record.files.items():
            self._verify(served, folder / name, digest)
        return folder / record.model_folder

    def _verify(self, served: Served, path: Path, digest: str) -> None:
        name = path.relative_to(self.folder).as_posix()
        if path.resolve() != self.folder.resolve() / name:
            raise DataError(f"{name}: it leads to another place by a link.")
        try:
            found = _sha256(path)
        except FileNotFoundError:
            raise DataError(f"{name}: the file is missing.") from None
        if found != digest:
            raise DataError(
                f"{name}: the file is not what was deployed as {served.bento} "
                f"(SHA-256 {found[:12]}…, expected {digest[:12]}…)."
            )

    def point(self, pointer: Pointer) -> None:
        """Move the model's pointer atomically, and sync it to disk.

        The deployment that was in service is recorded first. A kill in between leaves it both in
        the record and in the pointer, which `services` counts once.
        """
        self._record_service(pointer.model_name)
        self._move(pointer)

    def _move(self, pointer: Pointer) -> None:
        _write(self.folder / pointer.model_name / "current.json", pointer.model_dump_json(indent=1))

    def services(self, model_name: str) -> list[Service]:
        """What was put into service and worked, in the order of time; the last serves now.

        Moves of the pointer before a store kept this record are not in it.

        Raises:
            DataError: the pointer or the record cannot be read.
        """
        return self._with_present(model_name, self._recorded(model_name))

    def _recorded(self, model_name: str) -> list[Service]:
        path = self.folder / model_name / "services.json"
        try:
            return _SERVICES.validate_json(path.read_bytes())
        except FileNotFoundError:
            return []
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "content"
            raise DataError(
                f"{model_name}/services.json: {where}: {first['msg']}. It records what was in "
                "service; correct it, or delete it."
            ) from None

    def _with_present(self, model_name: str, recorded: list[Service]) -> list[Service]:
        pointer = self.pointer(model_name)
        good = pointer.last_good() if pointer else None
        known = {(each.since, each.deployment): each for each in recorded}
        if good:
            known.setdefault((good.deployed_at, good.deployment), Service.of(good))
        return [known[key] for key in sorted(known)]

    def _record_service(self, model_name: str) -> None:
        """Record what is in service. No damaged file keeps a good deployment out of service."""
        path = self.folder / model_name / "services.json"
        try:
            recorded = self._recorded(model_name)
        except DataError:
            path.replace(path.with_name("services.json.damaged"))
            recorded = []
        try:
            services = self._with_present(model_name, recorded)
        except DataError:  # of the pointer, which moves now
            return
        if services != recorded:
            _write(path, _SERVICES.dump_json(services[-KEPT_SERVICES:], indent=1).decode())

    def point_back(self, model_name: str, pointer: Pointer | None) -> None:
        """Undo a move: restore the pointer before it, or remove it if there was none."""
        if pointer is None:
            (self.folder / model_name / "current.json").unlink(missing_ok=True)
        else:
            self._move(pointer)

    def keep(self, store: "DeploymentStore", pointer: Pointer) -> None:
        """Copy a deployment of another store, as the only one of its model.

        Raises:
            OSError: it cannot be written; the copy before it is still there.
        """
        model_name, name = pointer.model_name, pointer.deployment
        if self.find(model_name, name) is None:
            self._remove_leftovers(model_name)
            aside = self.folder / model_name / f".new-{name}"
            shutil.copytree(store.folder / model_name / name, aside, copy_function=shutil.copyfile)
            self._remove(model_name, name)
            aside.replace(self.folder / model_name / name)
        self._move(pointer.model_copy(update={"previous": None, "challenger": None}))
        for record in (self.folder / model_name).glob("[!.]*/deployment.json"):
            if record.parent.name != name:
                self._remove(model_name, record.parent.name)

    def prune(self, model_name: str) -> None:
        """Remove all but the latest deployments and those that the pointer names."""
        pointer = self.pointer(model_name)
        named = {
            served.deployment
            for served in (pointer, pointer and pointer.previous, pointer and pointer.challenger)
            if served
        }
        records = (self.folder / model_name).glob("[!.]*/deployment.json")
        latest_first = sorted(records, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for record in latest_first[KEPT_DEPLOYMENTS:]:
            if record.parent.name not in named:
                self._remove(model_name, record.parent.name)

    def _remove(self, model_name: str, deployment: str) -> None:
        folder = self.folder / model_name / deployment
        if folder.exists():
            # Rename it first: a half-removed folder must not look like a deployment.
            gone = folder.with_name(f".gone-{deployment}")
            folder.replace(gone)
            shutil.rmtree(gone)

    def _remove_leftovers(self, model_name: str) -> None:
        for pattern in (".new-*", ".gone-*"):
            for path in (self.folder / model_name).glob(pattern):
                shutil.rmtree(path)


def lock_name(model_name: str) -> str:
    """The name of the lock for writing a model's pointer."""
    return f"deploy-{model_name}"


def _pointer(record: Deployment, content: bytes) -> Pointer:
    return Pointer(
        **record.model_dump(include=set(_Named.model_fields)),
        sha256=hashlib.sha256(content).hexdigest(),
        deployed_at=datetime.now(UTC),
    )


def _write(path: Path, text: str) -> None:
    """Replace a small file atomically, and sync it to disk."""
    aside = path.with_name(f".{path.name}.new")
    with aside.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
