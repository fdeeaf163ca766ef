"""``hub doctor``: checks of this machine, a module or a configuration. Each check is a function in one of three tables."""
