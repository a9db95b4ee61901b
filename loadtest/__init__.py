"""Load tests and benchmarks: one command each, see docs/load-tests.md."""
