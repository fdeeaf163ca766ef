"""``paddlehub.reader.tokenization``: split texts into pieces of a vocabulary, as BERT does.

Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018; the greedy longest match is from Wu et al., 2016.
"""

import unicodedata
from collections import OrderedDict
from typing import Any, Dict, List, Sequence

#: code points of Chinese characters, each of which is a word of its own
_CHINESE = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF)),
    *((0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


def convert_to_unicode(text: Any) -> str:
    """Convert a text or UTF-8 bytes to a text."""
    return text.decode("utf-8", "ignore") if isinstance(text, bytes) else str(text)


def load_vocab(vocab_file: str) -> Dict[str, int]:
    """Read a file with a piece in each line, or a piece, a tab and its number, into piece -> number."""
    vocab: Dict[str, int] = OrderedDict()
    with open(vocab_file, encoding="utf-8") as file:
        for index, line in enumerate(file):
            parts = line.rstrip("\n").split("\t")
            if len(parts) > 2:
                break
            vocab[parts[0].strip()] = int(parts[1]) if len(parts) == 2 else index
    return vocab


def convert_by_vocab(vocab: Dict[Any, Any], items: Sequence[Any]) -> List[Any]:
    """Look up each item."""
    return [vocab[item] for item in items]


def whitespace_tokenize(text: str) -> List[str]:
    """Split at white space."""
    return text.split()


class BasicTokenizer:
    """Splitter of texts into words: at white space, around punctuation, and around each Chinese character."""

    def __init__(self, do_lower_case: bool = True) -> None:
        self.do_lower_case = do_lower_case

    def tokenize(self, text: Any) -> List[str]:
        """Split a text into words, in lower case and without accents if so configured."""
        spaced = "".join(f" {char} " if _is_chinese(char) else _clean(char) for char in convert_to_unicode(text))
        return [part for word in spaced.split() for part in _at_punctuation(self._fold(word))]

    def _fold(self, word: str) -> str:
        if not self.do_lower_case:
            return word
        return "".join(char for char in unicodedata.normalize("NFD", word.lower()) if unicodedata.category(char) != "Mn")


class WordpieceTokenizer:
    """Splitter of words into the longest pieces of the vocabulary, from the beginning; further pieces start with ``##``."""

    def __init__(self, vocab: Dict[str, int], unk_token: str = "[UNK]", max_input_chars_per_word: int = 100) -> None:  # noqa: S107 - a token of text
        self.vocab, self.unk_token, self.max_input_chars_per_word = vocab, unk_token, max_input_chars_per_word

    def tokenize(self, text: Any) -> List[str]:
        """Split words, separated by spaces, into pieces."""
        return [piece for word in convert_to_unicode(text).split() for piece in self._pieces(word)]

    def _pieces(self, word: str) -> List[str]:
        if len(word) > self.max_input_chars_per_word:
            return [self.unk_token]
        pieces: List[str] = []
        start = 0
        while start < len(word):
            front = "##" if start else ""
            end = next((end for end in range(len(word), start, -1) if front + word[start:end] in self.vocab), 0)
            if not end:
                return [self.unk_token]
            pieces.append(front + word[start:end])
            start = end
        return pieces


class FullTokenizer:
    """Splitter of texts into words and of words into pieces."""

    def __init__(self, vocab_file: str, do_lower_case: bool = True, **_settings: Any) -> None:
        self.vocab = load_vocab(vocab_file)
        self.inv_vocab = {number: piece for piece, number in self.vocab.items()}
        self.basic_tokenizer = BasicTokenizer(do_lower_case)
        self.wordpiece_tokenizer = WordpieceTokenizer(self.vocab)

    def tokenize(self, text: Any) -> List[str]:
        """Split a text into pieces."""
        return [piece for word in self.basic_tokenizer.tokenize(text) for piece in self.wordpiece_tokenizer.tokenize(word)]

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> List[int]:
        """Convert pieces to their numbers."""
        return convert_by_vocab(self.vocab, tokens)

    def convert_ids_to_tokens(self, ids: Sequence[int]) -> List[str]:
        """Convert numbers to their pieces."""
        return convert_by_vocab(self.inv_vocab, ids)


def _is_chinese(char: str) -> bool:
    return any(first <= ord(char) <= last for first, last in _CHINESE)


def _clean(char: str) -> str:
    if char in "\t\n\r" or unicodedata.category(char) == "Zs":
        return " "
    return "" if char in "\0\ufffd" or unicodedata.category(char) in ("Cc", "Cf") else char


def _at_punctuation(word: str) -> List[str]:
    parts: List[str] = []
    joined = False
    for char in word:
        if _is_punctuation(char):
            parts.append(char)
            joined = False
        elif joined:
            parts[-1] += char
        else:
            parts.append(char)
            joined = True
    return parts


def _is_punctuation(char: str) -> bool:
    ascii_symbol = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return ascii_symbol or unicodedata.category(char).startswith("P")
