"""The Python and the packages that a module runs with.

A module whose needs this Python meets shares it. Any other runs in an environment, ``environments/<key>/`` of the home, which modules with
equal locks share. In the order in which an install passes through them:

- what the module needs: ``module_requirements`` (its metadata), ``requirements``, ``requirement_lines`` and ``find_links``
  (``requirements.txt``), ``code_requirements`` (its imports); ``install_options``: what the user asks for
- where it can run: ``host_compat`` and ``host_packages`` (this Python), ``profile`` and ``profile_merge`` (profiles), ``selection``
  (the choice)
- which Python an environment is made with: ``interpreters``, ``python_choice``
- which versions go into it: ``resolve``, ``package_lock``
- the environment itself: ``build``, ``environment_record``, ``import_probe``, ``provision`` (found or built), ``tools`` (uv and pip)
- who asks for it: ``module_environment`` and ``staged_environment`` (an install), ``serving_environment`` (a server),
  ``profile_environment`` (engines, ``hub env build``), ``wheels`` (bundles), ``packed_environment`` (Triton models that bring one)
- what runs in it: ``launch``; which modules use it: ``usage``
"""
