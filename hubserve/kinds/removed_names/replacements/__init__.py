"""Replacements of removed functions and modules that newer packages do not have under another name."""
