"""The only access to MLflow."""
