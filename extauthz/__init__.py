"""The decision point that Envoy asks before it forwards a request."""
