"""A module's own Python and packages.

A module that needs nothing but what this Python has shares it. Any other runs in an environment of its own, ``environments/<key>/`` of the
home, which modules with equal locks share. Start at :func:`hubserve.registry.environments.resolve.provide` (what ``hub install`` calls) and
:func:`hubserve.registry.environments.launch.launch` (how an instance is started in it).
"""
