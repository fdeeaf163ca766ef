"""Texts of authors in Markdown."""

from hubserve.protocols.openapi.texts import block, characters, line, paragraphs, plain


def test_a_line_is_one_line_of_bounded_length() -> None:
    assert line(" a\n\tb\x00c \u2028 d ") == "a b c d"
    assert line("x" * 1000) == "x" * 300 + "..."
    assert characters("\ud800a") == "?a"


def test_nothing_in_a_plain_text_is_markup() -> None:
    assert plain("<b>a</b> & [x](y) `z` *w*") == "&lt;b&gt;a&lt;/b&gt; &amp; \\[x](y) \\`z\\` \\*w\\*"


def test_a_block_is_indented_throughout() -> None:
    assert block("\n a\r\n```\n\n</pre>\n  b\n\n") == "    a\n    ```\n\n    </pre>\n      b"
    assert block(" \n ") == ""
    assert paragraphs("a", "", "b") == "a\n\nb"
