"""The modules on this machine, by name and version.

Start at :class:`hubserve.registry.store.Store` (install, list, uninstall) and :func:`hubserve.registry.resolve.resolve` (what a user's
``NAME``, ``NAME==VERSION`` or folder means).
"""
