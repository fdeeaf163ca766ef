"""The process that runs one version of one module."""
