"""Bundles: everything that a machine without a network needs to run some modules, in one file.

A bundle is a plain tar. Its first member, ``bundle.json``, lists the others: each module version as an archive that carries its assets
(:mod:`hubserve.registry.archives.outside_files`), and, for modules with an environment of their own, the wheels that it is built from.
Start at :func:`hubserve.registry.bundles.build.make_bundle` and :func:`hubserve.registry.bundles.install.install_bundle`.
"""
