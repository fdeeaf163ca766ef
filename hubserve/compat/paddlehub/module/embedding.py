"""``EmbeddingModule``: vectors of words, and the similarity of two words."""

import os
from typing import Any, List

from paddlehub.module.run_module import RunModule

from hubserve.module import serving


class EmbeddingServing:
    """Serving method for the similarity of words."""

    vocab: Any
    get_idx_from_word: Any
    cosine_sim: Any

    @serving
    def calc_similarity(self, data: List[List[str]]) -> List[str]:
        """Return the cosine of each pair's vectors, as texts.

        Raises:
            RuntimeError: an entry is not a pair of words, or a word is not in the vocabulary.
        """
        return [self._similarity(pair) for pair in data]

    def _similarity(self, pair: List[Any]) -> str:
        if len(pair) != 2 or not all(isinstance(word, str) for word in pair):
            raise RuntimeError(f"a pair of two words is compared, got {pair!r}")
        for word in pair:
            if self.get_idx_from_word(word) == self.get_idx_from_word(self.vocab.unk_token):
                raise RuntimeError(f'Word "{word}" is not in vocab. Please check your inputs.')
        return str(self.cosine_sim(*pair))


class EmbeddingModule(RunModule, EmbeddingServing):
    """Base class of modules whose class is PaddleNLP's ``TokenEmbedding``."""

    base_url = "https://paddlenlp.bj.bcebos.com/models/embeddings/"
    embedding_name: str

    def get_vocab_path(self) -> str:
        """Return the vocabulary's path; PaddleNLP downloads it if it is missing."""
        from paddle.utils.download import get_path_from_url
        from paddlenlp.embeddings.token_embedding import EMBEDDING_HOME, EMBEDDING_URL_ROOT

        path = os.path.join(EMBEDDING_HOME, f"vocab.{self.embedding_name}")
        if not os.path.exists(path):
            get_path_from_url(f"{EMBEDDING_URL_ROOT}/vocab.{self.embedding_name}", EMBEDDING_HOME)
        return path

    def get_tokenizer(self, *_args: Any, **_settings: Any) -> Any:
        """Return PaddleNLP's tokenizer for Chinese, with this vocabulary."""
        if self.embedding_name.endswith(".en"):
            raise NotImplementedError("there is no tokenizer for English vectors; cut the text at its spaces")
        from paddlenlp.data import JiebaTokenizer

        return JiebaTokenizer(self.vocab)
