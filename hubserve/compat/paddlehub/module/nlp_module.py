"""``paddlehub.module.nlp_module``: base classes of text modules, whose models and tokenizers come from PaddleNLP."""

from typing import Any

from paddlehub.compat.module.nlp_module import DataFormatError
from paddlehub.module.embedding import EmbeddingModule, EmbeddingServing
from paddlehub.module.transformer import TextServing, TransformerModule

__all__ = ["DataFormatError", "EmbeddingModule", "EmbeddingServing", "TextServing", "TransformerModule"]


def __getattr__(name: str) -> Any:
    """Return a name that moved to PaddleNLP."""
    if name in ("PretrainedModel", "register_base_model"):
        import paddlenlp.transformers

        return getattr(paddlenlp.transformers, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
