"""How Airflow runs Breezeway. No ML library is imported here, and Airflow only by the modules."""
