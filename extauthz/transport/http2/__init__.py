"""HTTP/2 and gRPC's framing for one purpose: small calls with one message in and one out, from few peers.

Rule 1: what a peer sends is bounded, checked, and costs at most its own connection.
"""
