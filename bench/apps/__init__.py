"""What is measured beside Breezeway: the same model behind other servers, each as its own
documentation has it. `BENCH_MODEL` is the model's file."""
