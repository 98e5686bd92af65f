"""Fixtures own the servers; a test says one thing."""

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the platform takes longest and begins first."""
    items.sort(key=lambda item: "platform" not in item.fixturenames)
