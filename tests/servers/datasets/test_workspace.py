"""The data of a dataset, through DVC."""

import shutil
from pathlib import Path

from breezeway.core.settings import Settings
from breezeway.datasets import workspace
from breezeway.datasets.workspace import open_workspace


def test_data_comes_back_through_dvc_and_a_damaged_file_does_not(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "a home")
    source = tmp_path / "source"
    source.mkdir()
    (source / "part").write_text("rows")
    with open_workspace(settings) as space:
        files = space.add_data(source)
        hashes = {name: file.hash for name, file in files.items()}
        folder = workspace.dvc_objects.folder_hash(hashes)
        assert space.pull_data(folder) is None
        assert (space.tree / "data" / "part").read_text() == "rows"

    kept = workspace.dvc_objects.object_path(
        Path(settings.remote_address), workspace.dvc_objects.file_hash(source / "part")
    )
    kept.chmod(0o644)
    kept.write_text("row5")
    with open_workspace(settings) as space:
        shutil.rmtree(settings.dvc_cache)
        assert space.pull_data(folder)
