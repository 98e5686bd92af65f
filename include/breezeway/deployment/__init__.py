"""What is in service: the deployment store, its pointer, the replicas, the canary rule."""
