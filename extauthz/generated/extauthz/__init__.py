"""Compiled from `protos/` by `make generate`; not edited by hand."""
