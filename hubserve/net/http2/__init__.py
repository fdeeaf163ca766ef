"""HTTP/2 for servers (RFC 9113), as far as clients of gRPC use it."""
