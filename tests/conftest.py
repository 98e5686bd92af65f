"""Fixtures own the servers; a test says one thing."""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

pytest_plugins = [
    f"tests.fixtures.{name}"
    for name in (
        "airflow",
        "chart",
        "deployment",
        "mariadb",
        "mlflow",
        "plant",
        "serving",
        "platform",
        "prometheus",
    )
]

ON_ONE_PLATFORM = {
    "tests/platform/dags/test_history.py",
    "tests/platform/laptop/test_platform.py",
    "tests/platform/test_training_end_to_end.py",
    "tests/platform/test_web_ui.py",
}
"""Files that share the fixture `platform`, and so a process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the platform takes longest and begins first."""
    items.sort(key=lambda item: "platform" not in item.fixturenames)


class _OnePlatform(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "platform" if file in ON_ONE_PLATFORM else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Deals files, whole, to the processes, and those on one platform together."""
    return _OnePlatform(config, log)
