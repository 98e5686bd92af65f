"""The model server: a BentoML service that follows the deployment store."""
