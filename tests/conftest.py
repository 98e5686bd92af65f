"""Fixtures own the servers; a test says one thing."""

import importlib.util

FIXTURES = ("airflow", "mariadb", "mlflow", "plant", "serving", "platform")

pytest_plugins = [
    f"tests.fixtures.{name}"
    for name in FIXTURES
    if importlib.util.find_spec(f"tests.fixtures.{name}")
]
