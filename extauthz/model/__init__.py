"""Values that every room shares. They know nothing of transport, files or clocks."""
