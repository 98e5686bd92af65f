"""A temporary folder where git and DVC run, with time limits and only our configuration."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from breezeway.core.errors import DataError, InternalError, ServiceUnavailable, UsageError
from breezeway.core.files import FULL, no_space
from breezeway.core.names import paths_mistake
from breezeway.core.scratch import scratch
from breezeway.core.settings import Settings, quiet_environment, redacted
from breezeway.datasets import dvc_objects
from breezeway.datasets.configuration import (
    DVC_CONFIG,
    DVC_LOCAL_CONFIG,
    GIT_CONFIG,
    TAGS_NEVER_MOVE,
)

BRANCH = "main"

LOOK_SECONDS = 20
"""How long the repository may take to list its tags."""
TRANSFER_SECONDS = 300
"""How long git may take for commits of a few kilobytes."""
STALE_SECONDS = 60
"""Git holds the lock of a ref for milliseconds, so the owner of an older one is dead."""

KEPT_VARIABLES = ("GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND")
"""Variables that say how git reaches a server. All other variables of git and DVC are removed,
because they would change what these do."""

OUR_FILES = {"data.dvc", "manifest.json", ".dvc/config", ".dvc/.gitignore", ".gitignore"}
"""What is written into the tree for a commit; the folder `data` lies beside."""

INCOMING = ".incoming-"
DEAD_SECONDS = 86_400
"""Nobody publishes for so long, so the owner of an older folder is dead."""

NO_SPACE = ("No space left on device", "Disk quota exceeded")
GONE = ("No such file or directory", "NoSuchKey", "Not Found", "(404)")
"""What DVC says of an object that a remote does not hold; to try again would not bring it back."""
PUSH_LOST = ("[rejected]", "cannot lock ref", "failed to update ref", "incorrect old value")


@contextmanager
def open_workspace(settings: Settings) -> Iterator["Workspace"]:
    """A workspace, removed afterwards; those of killed processes are removed first.

    Raises:
        ServiceUnavailable: a disk is full.
    """
    try:
        with scratch(settings, "workspace") as folder:
            yield Workspace(settings, folder)
    except OSError as error:
        if full := no_space(error):
            raise full from error
        raise


class Workspace:
    """One git working tree, `tree`, and the commands that act on it. Use `open_workspace`.

    Args:
        folder: an empty folder on the file system of the DVC cache, so that files can be linked.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.tree = folder / "tree"
        self.tree.mkdir()
        self.repository = local_path(settings.repository_address)
        self.address = str(self.repository or settings.repository_address)
        self.remote = local_path(settings.remote_address)
        config = folder / "gitconfig"
        config.write_text(GIT_CONFIG.format(repository=json.dumps(self.address)))
        self.environment = {
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=10",
            **{
                name: value
                for name, value in os.environ.items()
                if name in KEPT_VARIABLES or not name.startswith(("GIT_", "DVC_"))
            },
            **quiet_environment(),
            "GIT_CONFIG_GLOBAL": str(config),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
            "TZ": "UTC",
            # Otherwise each workspace would leave a folder in /var/tmp.
            "DVC_SITE_CACHE_DIR": str(folder / "dvc-site"),
            "DVC_GLOBAL_CONFIG_DIR": str(folder / "dvc-global"),
            "DVC_SYSTEM_CONFIG_DIR": str(folder / "dvc-system"),
        }

    @property
    def _repository_name(self) -> str:
        return f"The dataset repository {redacted(self.address)}"

    @property
    def _remote_name(self) -> str:
        return f"The dataset remote {redacted(self.settings.remote_address)}"

    # Commands

    def _run(
        self, what: str, *command: str, seconds: float | None, given: str = ""
    ) -> tuple[int, str, str]:
        try:
            done = subprocess.run(
                command,
                cwd=self.tree,
                env=self.environment,
                input=given,
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ServiceUnavailable(f"{what} gave no answer in {seconds} s.") from None
        except FileNotFoundError:
            raise UsageError(f"The command {command[0]!r} is not installed.") from None
        said = redacted(done.stderr)
        if done.returncode and any(phrase in said for phrase in NO_SPACE):
            raise ServiceUnavailable(f"{what}: no space is left on the device.")
        return done.returncode, done.stdout, said

    def git(self, *arguments: str, lines: Sequence[str] = ()) -> str:
        """Run git on the tree, without the repository.

        Args:
            lines: what it reads.

        Raises:
            InternalError: git failed.
        """
        given = "".join(f"{line}\n" for line in lines)
        code, output, said = self._run(
            "git", "git", *arguments, seconds=TRANSFER_SECONDS, given=given
        )
        if code:
            raise InternalError(f"git {arguments[0]} failed with {code}: {_reason(said)}")
        return output

    def _git_remote(self, *arguments: str, seconds: float = TRANSFER_SECONDS) -> str:
        if self.repository and not self.repository.exists():
            raise ServiceUnavailable(f"{self._repository_name} is not there.")
        code, output, said = self._run(self._repository_name, "git", *arguments, seconds=seconds)
        if code:
            raise ServiceUnavailable(f"{self._repository_name} does not answer: {_reason(said)}")
        return output

    def _dvc(self, *arguments: str) -> tuple[int, str]:
        # Not by its script, which fails if the path is too long for a `#!` line.
        command = [sys.executable, "-m", "dvc", *arguments]
        code, _, said = self._run(self._remote_name, *command, seconds=None)
        return code, said

    # The repository

    def create_repository(self) -> None:
        """Create the bare repository if it is a local folder that does not exist.

        Raises:
            ServiceUnavailable: the address is configured and its parent folder does not exist
                either: this is probably a missing mount.
        """
        if self.repository is None or self.repository.exists():
            return
        if not self._unborn():
            raise ServiceUnavailable(f"{self._repository_name} is not there.")
        self.repository.parent.mkdir(parents=True, exist_ok=True)
        aside = self.repository.with_name(f".{self.repository.name}.new")
        shutil.rmtree(aside, ignore_errors=True)
        self.git(
            *("init", "--quiet", "--bare", "--template=", f"--initial-branch={BRANCH}", str(aside))
        )
        for name in ("receive.denyDeletes", "receive.denyNonFastForwards"):
            self.git("--git-dir", str(aside), "config", name, "true")
        hook = aside / "hooks" / "update"
        hook.parent.mkdir()
        hook.write_text(TAGS_NEVER_MOVE)
        hook.chmod(0o755)
        aside.rename(self.repository)

    def _unborn(self) -> bool:
        """Whether the first publisher will create the repository."""
        return (
            self.repository is not None
            and not self.repository.exists()
            and (self.settings.dataset_repository is None or self.repository.parent.exists())
        )

    def tags(self) -> dict[str, str]:
        """Commit of each tag.

        Raises:
            ServiceUnavailable: the repository does not answer.
        """
        if self._unborn():
            return {}
        listing = self._git_remote("ls-remote", "--tags", self.address, seconds=LOOK_SECONDS)
        commits = {}
        for line in listing.splitlines():
            commit, name = line.split("\t")
            # For an annotated tag `x`, the line `x^{}` follows and has its commit.
            commits[name.removeprefix("refs/tags/").removesuffix("^{}")] = commit
        return commits

    def fetch(self, *tags: str) -> None:
        """Fetch the commits of tags, for `commits.read_commits`; `*` stands for all.

        Raises:
            ServiceUnavailable: the repository does not answer.
        """
        self._init()
        names = [f"+refs/tags/{tag}:refs/tags/{tag}" for tag in tags]
        self._git_remote("fetch", "--quiet", "--depth=1", "--no-tags", self.address, *names)

    def _init(self) -> None:
        if not (self.tree / ".git").exists():
            self.git("init", "--quiet", "--template=", f"--initial-branch={BRANCH}")

    def check_out_branch(self) -> None:
        """Check out the branch's newest commit, or an empty tree if there is none yet.

        Raises:
            DataError: the commit holds what our files cannot be written beside.
            ServiceUnavailable: the repository does not answer.
        """
        self._init()
        name = f"refs/heads/{BRANCH}"
        if self._git_remote("ls-remote", self.address, name, seconds=LOOK_SECONDS):
            self._git_remote("fetch", "--quiet", "--depth=1", "--no-tags", self.address, name)
            self.check_out("FETCH_HEAD")

    def check_out(self, commit: str) -> None:
        """Check out a fetched commit; a link in it becomes a file with the link's text.

        Raises:
            DataError: the commit holds what our files cannot be written beside.
        """
        listed = self.git("ls-tree", "-r", "-z", "--name-only", commit)
        names = {name for name in listed.split("\0") if name}
        if any(name.partition("/")[0] == "data" for name in names):
            mistake: str | None = "it holds 'data', which only DVC may write"
        else:
            mistake = paths_mistake(names | OUR_FILES)
        if mistake:
            raise DataError(f"{self._repository_name}, {commit}: {mistake}.")
        self.git("checkout", "--quiet", "--force", "--detach", commit)

    def commit(self, message: str) -> None:
        """Commit the tree, even without changes, because each tag has its own commit."""
        self.git("add", "--all", ".")
        self.git("commit", "--quiet", "--no-verify", "--allow-empty", "--message", message)

    def push(self, *names: str) -> bool:
        """Push the commit to all these refs, or to none.

        Returns:
            Whether it succeeded; if not, another publisher was faster: read the repository again.

        Raises:
            ServiceUnavailable: the repository does not answer.
        """
        self._remove_stale_locks()
        references = [f"HEAD:{name}" for name in names]
        code, output, said = self._run(
            self._repository_name,
            *("git", "push", "--porcelain", "--atomic", self.address, *references),
            seconds=TRANSFER_SECONDS,
        )
        if code and any(phrase in output + said for phrase in PUSH_LOST):
            time.sleep(0.2)
            return False
        if code:
            raise ServiceUnavailable(f"{self._repository_name} takes no push: {_reason(said)}")
        return True

    def _remove_stale_locks(self) -> None:
        """Remove the lock that a machine left when it died during git's update of a ref."""
        if self.repository is None:
            return
        before = time.time() - STALE_SECONDS
        for lock in [*self.repository.glob("*.lock"), *self.repository.glob("refs/**/*.lock")]:
            with suppress(FileNotFoundError):  # git on another host holds one for milliseconds
                if lock.stat().st_mtime < before:
                    lock.unlink()

    # The remote

    def configure_dvc(self) -> None:
        """Write DVC's configuration: the committed part, and the part for this tree only."""
        folder = self.tree / ".dvc"
        folder.mkdir(exist_ok=True)
        remote = json.dumps(str(self.remote or self.settings.remote_address), ensure_ascii=False)
        cache = json.dumps(str(self.settings.dvc_cache), ensure_ascii=False)
        (folder / "config").write_text(DVC_CONFIG.format(remote=remote), encoding="utf-8")
        (folder / "config.local").write_text(DVC_LOCAL_CONFIG.format(cache=cache), encoding="utf-8")
        (folder / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
        (self.tree / ".gitignore").write_text("/data\n")

    def add_data(self, folder: Path) -> dict[str, dvc_objects.Content]:
        """Copy a folder's files to the cache and to the remote.

        Returns:
            The content of each file, by its path with `/`.

        Raises:
            DataError: the folder changed while it was copied.
            ServiceUnavailable: the remote does not answer or is full.
        """
        with ExitStack() as stack:
            stores = {self.settings.dvc_cache: self.folder / "incoming"}
            stores[self.settings.dvc_cache].mkdir()
            if self.remote:
                stores[self.remote] = stack.enter_context(self._aside_in(self.remote))
            try:
                files = dvc_objects.add(folder, stores, self.settings.threads)
            except OSError as error:
                if error.errno in FULL or self.remote not in Path(str(error.filename)).parents:
                    raise
                raise ServiceUnavailable(
                    f"{self._remote_name} takes no data: {error.strerror}"
                ) from None
        if not self.remote:
            self._push_data(files)
        return files

    @contextmanager
    def _aside_in(self, remote: Path) -> Iterator[Path]:
        """A temporary folder in the remote; those of killed processes are removed first."""
        self._check_remote_folder(first_time=True)
        remote.mkdir(parents=True, exist_ok=True)
        for left in remote.glob(f"{INCOMING}*"):  # left by hosts that may not share our lock
            with suppress(FileNotFoundError):
                if left.stat().st_mtime < time.time() - DEAD_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix=INCOMING, dir=remote))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _push_data(self, files: Mapping[str, dvc_objects.Content]) -> None:
        """`dvc push`."""
        self.configure_dvc()
        (self.tree / "data.dvc").write_text(dvc_objects.pointer(files, "data"), encoding="utf-8")
        code, said = self._dvc("push")
        if code:
            raise ServiceUnavailable(f"{self._remote_name} takes no data: {_reason(said)}")

    def pull_listing(self, hash: str) -> None:
        """Copy the list of a folder's files from the remote to the cache, if it is whole there.

        Raises:
            ServiceUnavailable: the remote does not answer, or the disk is full.
        """
        copy = self.folder / "listing"
        if self.remote:
            self._check_remote_folder(first_time=False)
            if (source := dvc_objects.object_path(self.remote, hash)).is_file():
                shutil.copyfile(source, copy)
        else:
            self._get(f"{self.settings.remote_address.rstrip('/')}/files/md5/{hash[:2]}/{hash[2:]}")
        if copy.is_file() and dvc_objects.file_hash(copy) == hash.removesuffix(".dir"):
            path = dvc_objects.object_path(self.settings.dvc_cache, hash)
            path.parent.mkdir(parents=True, exist_ok=True)
            copy.chmod(dvc_objects.READ_ONLY)
            copy.replace(path)

    def _get(self, address: str) -> None:
        code, said = self._dvc("get-url", address, str(self.folder / "listing"))
        if code and "does not exist" not in said:
            raise ServiceUnavailable(f"{self._remote_name} does not answer: {_reason(said)}")

    def pull_data(self, hash: str) -> str | None:
        """`dvc pull` of a folder into `data`; check its `listing` before.

        Args:
            hash: of the folder.

        Returns:
            None, or why `data` is incomplete.

        Raises:
            ServiceUnavailable: the remote does not answer, or the disk is full.
        """
        if self.remote:
            self._check_remote_folder(first_time=False)
        self.configure_dvc()
        out = {"md5": hash, "hash": "md5", "path": "data"}
        (self.tree / "data.dvc").write_text(json.dumps({"outs": [out]}), encoding="utf-8")
        code, said = self._dvc("pull")
        if code and self.remote:
            self._check_remote_folder(first_time=False)  # it may have gone away meanwhile
        is_away = "failed to download" in said and not any(phrase in said for phrase in GONE)
        if is_away or "failed to connect" in said:
            raise ServiceUnavailable(f"{self._remote_name} does not answer: {_reason(said)}")
        return _reason(said) if code else None

    def may_hold(self, hash: str) -> bool:
        """Whether the remote has a folder's list of files; True if it is not a local folder."""
        return not self.remote or dvc_objects.object_path(self.remote, hash).exists()

    def collect_garbage(self, kept: Collection[str]) -> None:
        """`dvc gc` of the cache and of the remote.

        Args:
            kept: the folders whose files stay; the list of each has to be in the cache.

        Raises:
            ServiceUnavailable: the remote does not answer.
        """
        self.configure_dvc()
        for number, hash in enumerate(sorted(kept)):
            out = {"md5": hash, "hash": "md5", "path": f"kept-{number}"}
            text = json.dumps({"outs": [out]})
            (self.tree / f"kept-{number}.dvc").write_text(text, encoding="utf-8")
        code, said = self._dvc("gc", "--workspace", "--cloud", "--force")
        if code:
            raise ServiceUnavailable(f"{self._remote_name} is not thinned: {_reason(said)}")

    def _check_remote_folder(self, *, first_time: bool) -> None:
        assert self.remote is not None
        made_by_us = self.settings.dataset_remote is None or self.remote.parent.exists()
        if not self.remote.exists() and not (first_time and made_by_us):
            raise ServiceUnavailable(f"{self._remote_name} is not there.")


def local_path(address: str) -> Path | None:
    """The folder of an address; None if it is not a path of this machine."""
    if "://" in address or re.match(r"[^/]+:", address):
        return None
    return Path(address).expanduser().resolve()


def _reason(said: str) -> str:
    """The most informative line of a command's standard error."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("fatal:", "error:"))]
    return (errors or lines or ["no reason given"])[0 if errors else -1]
