"""Describe the server by OpenAPI: one document, to which each protocol adds its operations."""
