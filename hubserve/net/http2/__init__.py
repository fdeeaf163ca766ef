"""HTTP/2, as far as gRPC needs it, and gRPC's calls on it."""
