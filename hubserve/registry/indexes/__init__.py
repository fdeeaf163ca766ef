"""Indexes: static folders of JSON and archives, local or on a web server, in which modules are looked up by name.

The format is described in docs/index-format.md. :mod:`~hubserve.registry.indexes.build` writes an index,
:mod:`~hubserve.registry.indexes.reader` reads one, :mod:`~hubserve.registry.indexes.select` chooses a version from several.
"""
