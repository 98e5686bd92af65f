"""What is in service: the deployment pointer and those who follow it."""
