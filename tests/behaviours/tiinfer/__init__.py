"""Scripts of tiinfer behind a server."""
