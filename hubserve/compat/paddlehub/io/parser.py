"""``paddlehub.io.parser`` under its old name."""

from paddlehub.utils.parser import csv_parser, txt_parser, yaml_parser

__all__ = ["csv_parser", "txt_parser", "yaml_parser"]
