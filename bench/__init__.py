"""What Breezeway costs, measured beside what others cost: `make bench`."""
