"""The description of a server in OpenAPI's terms."""
