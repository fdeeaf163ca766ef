from setuptools import setup

setup(name="guideclas", version="1.0.0")
