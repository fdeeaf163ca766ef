"""HTTP/1.1 for uvicorn: strict parsing of heads and chunked bodies, and the cycle of a request and its response."""
