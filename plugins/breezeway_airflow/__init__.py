"""How Airflow runs Breezeway. No ML library is imported here, and Airflow only by the modules."""

POOLS: dict[str, tuple[int, str]] = {
    "dataset_versions": (
        1,
        "Writers of dataset versions queue here instead of fighting for a lock",
    ),
    "model_registry": (1, "Promotions and rollbacks, one at a time"),
}
"""Pools that the DAGs name: slots and description. Airflow has to have them before a run."""
