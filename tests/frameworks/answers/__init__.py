"""What frameworks answer by their own APIs, with nothing of hubserve around them.

Each script has ``load(model, threads)``, which returns a function from named arrays to named arrays; it is run by the Python of its
framework's environment.
"""
