"""What `airflow providers` says of Breezeway."""

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return what `airflow/provider_info.schema.json` asks of a provider."""
    return {
        "package-name": "breezeway",
        "name": "Breezeway",
        "description": "Continuous training and zero-downtime serving for IoT sensor models.",
        "integrations": [{"integration-name": "Breezeway"}],
        "operators": [
            {
                "integration-name": "Breezeway",
                "python-modules": [
                    "breezeway_airflow.approval",
                    "breezeway_airflow.branch",
                    "breezeway_airflow.drift",
                    "breezeway_airflow.dvc",
                    "breezeway_airflow.pod",
                    "breezeway_airflow.process",
                    "breezeway_airflow.registry",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": "Breezeway",
                "python-modules": ["breezeway_airflow.published_days"],
            }
        ],
        "triggers": [
            {"integration-name": "Breezeway", "python-modules": ["breezeway_airflow.pod_trigger"]}
        ],
        "extra-links": ["breezeway_airflow.links.ReportLink"],
    }
