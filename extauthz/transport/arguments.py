"""What grpc's core is told about connections and sizes, below the stock transport."""

from extauthz.transport.contract import TransportOptions


def channel_arguments(options: TransportOptions) -> list[tuple[str, int]]:
    """Set for behaviour, none for speed."""
    age = options.max_connection_age_seconds
    arguments = [
        ("grpc.so_reuseport", 0),  # a second server on the port must fail, not take half of the connections
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_metadata_size", options.max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", options.max_metadata_bytes * 2),
        ("grpc.max_concurrent_streams", options.max_concurrent_streams),
        # after so many new calls grpc leaves the rest of what it has read to another thread; one that decides inline
        # would not hear of them until that thread gets a turn, milliseconds later under load
        ("grpc.http2.max_requests_per_read", 1024),
        # calls that nobody has looked at yet; beyond, grpc ends them with an error, which Envoy may let through (T-59)
        ("grpc.server.max_pending_requests", 8192),
        ("grpc.server.max_pending_requests_hard_limit", 16384),
        ("grpc.http2.min_ping_interval_without_data_ms", int(options.min_ping_interval_seconds * 1000)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", 30_000),  # finds Envoys that vanished without closing
        ("grpc.keepalive_timeout_ms", 10_000),
    ]
    if age:
        arguments += [
            ("grpc.max_connection_age_ms", int(age * 1000)),  # grpc adds the jitter
            ("grpc.max_connection_age_grace_ms", int(options.max_connection_age_grace_seconds * 1000)),
        ]
    return arguments
