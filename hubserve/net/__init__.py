"""All code that faces the network: connections, HTTP/1.1, HTTP/2, gRPC calls, request bodies, limits and deadlines."""
