"""The modules on this machine, by name and version.

Start at :class:`hubserve.registry.installed.InstalledModules` (what is installed), :class:`hubserve.registry.installer.Installer` (install,
uninstall, roll back) and :func:`hubserve.registry.resolve.resolve` (what a user's ``NAME``, ``NAME==VERSION`` or folder means).

Imports point downwards here, too; ``tests/unit/registry/test_layers.py`` checks it:

- ``installer``, ``bundles``, ``paddlehub_import``, ``gc``, ``clear_cache``: changes that commands make; ``model_store``: what stores hold
- ``install``: the transaction that installs one module
- ``sources``: folders, archives, addresses, git repositories, names in indexes
- ``indexes``: read, write and search indexes; signatures
- ``remotes``: folders in buckets, on servers and at hubs, and copies of them
- ``downloads``: files from addresses
- ``environments``: the Python environments of modules
- ``archives``: pack, unpack, copy
- everything else: names, settings, locks, manifests, histories, version directories, what is installed
"""
