"""``paddlehub.utils.parser``: readers of small files."""

from typing import Any, Dict, List


class TextFileParser:
    """Reader of the lines of a text file, in UTF-8 or else in GBK."""

    def parse(self, txt_file: str, use_strip: bool = True) -> List[str]:
        """Return the file's lines; ``use_strip`` strips them and drops empty ones."""
        try:
            lines = self._lines(txt_file, "utf-8")
        except UnicodeDecodeError:
            lines = self._lines(txt_file, "gbk")
        return [line.strip() for line in lines if line.strip()] if use_strip else lines

    def _lines(self, path: str, encoding: str) -> List[str]:
        with open(path, encoding=encoding) as file:
            return file.readlines()


class YAMLFileParser:
    """Reader of YAML files; needs PyYAML in the module's environment."""

    def parse(self, yaml_file: str) -> Any:
        """Return the file's content; numbers and booleans stay texts."""
        import yaml

        with open(yaml_file, encoding="utf-8") as file:
            return yaml.load(file, Loader=yaml.BaseLoader)  # noqa: S506 - this loader creates only texts, lists and dicts


class CSVFileParser:
    """Reader of CSV files with a header line and without quotes."""

    def parse(self, csv_file: str) -> Dict[str, List[str]]:
        """Return column name -> list of texts."""
        with open(csv_file, encoding="utf-8") as file:
            rows = [line.split(",") for line in file.read().split("\n") if line]
        return {name: [row[index] for row in rows[1:] if index < len(row)] for index, name in enumerate(rows[0] if rows else [])}


txt_parser = TextFileParser()
yaml_parser = YAMLFileParser()
csv_parser = CSVFileParser()
