"""``paddlehub.utils.parser``: readers of small files."""

from typing import Any, List


class TextFileParser:
    """Reads a text file's lines."""

    def parse(self, txt_file: str, use_strip: bool = True) -> List[str]:
        """The file's lines, without their surrounding white space if ``use_strip``."""
        with open(txt_file, encoding="utf-8") as file:
            lines = file.read().splitlines()
        return [line.strip() for line in lines] if use_strip else lines


class YAMLFileParser:
    """Reads a YAML file; needs PyYAML in the module's environment."""

    def parse(self, yaml_file: str) -> Any:
        """The file's content."""
        import yaml

        with open(yaml_file, encoding="utf-8") as file:
            return yaml.safe_load(file)


class CSVFileParser:
    """Reads a CSV file with a header line; needs pandas in the module's environment."""

    def parse(self, csv_file: str) -> Any:
        """Column name to list of values."""
        import pandas

        return pandas.read_csv(csv_file).to_dict("list")


txt_parser = TextFileParser()
yaml_parser = YAMLFileParser()
csv_parser = CSVFileParser()
