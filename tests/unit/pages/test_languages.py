"""The language of the front page."""

import pytest

from hubserve.pages.languages import CHINESE, ENGLISH, LANGUAGES, language_of


@pytest.mark.parametrize(
    ("asked", "accepted", "wanted"),
    [
        ("", "", ENGLISH),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", CHINESE),
        ("", "en-GB,en;q=0.9,zh;q=0.5", ENGLISH),
        ("", "en;q=0.5, zh-Hant-TW", CHINESE),
        ("", "de,zh;q=0.1", CHINESE),
        ("", "ZH", CHINESE),
        ("", "zh;q=0", ENGLISH),
        ("", "zh;q=nonsense", ENGLISH),
        ("", "zhuang", ENGLISH),
        ("en", "zh", ENGLISH),
        ("zh", "en", CHINESE),
        ("zh-TW", "en", CHINESE),
        ("xx", "zh", CHINESE),
    ],
)
def test_the_address_decides_and_then_the_browsers_first_language(asked: str, accepted: str, wanted: object) -> None:
    assert language_of(asked, accepted) is wanted


def test_every_text_is_in_every_language_with_the_same_places() -> None:
    first = LANGUAGES[0].texts
    for each in LANGUAGES[1:]:
        assert each.texts.keys() == first.keys()
        assert all(each.texts[name].count("{") == text.count("{") for name, text in first.items())
        assert all(text and not set(text) & set("<>&\"'") for text in each.texts.values()), "texts are put into pages as they are"
