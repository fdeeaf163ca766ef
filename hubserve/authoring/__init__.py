"""Creation of modules: a new one to fill in (``hub new``), or one around a model's files (``hub convert``)."""
