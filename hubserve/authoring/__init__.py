"""Making modules: a new one to fill in (``hub new``), or one around files of a model (``hub convert``)."""
