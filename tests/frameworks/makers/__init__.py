"""Scripts that make models, run by the Python of a framework's environment: ``python MAKER.py FOLDER [arguments]``."""
