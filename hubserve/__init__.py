"""hubserve: every kind of module, on any engine, over every protocol, installed with one command."""

__version__ = "0.1.0"
