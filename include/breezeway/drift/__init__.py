"""Whether something has changed: statistics over hours, and nothing else."""
