"""Indexes: static folders of JSON and archives, on this machine or behind any web server, in which modules are looked up by name.

The format is described in docs/index-format.md. :mod:`~hubserve.registry.indexes.build` writes an index,
:mod:`~hubserve.registry.indexes.reader` reads one, :mod:`~hubserve.registry.indexes.select` looks through several in order.
"""
