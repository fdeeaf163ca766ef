"""``TransformerModule``: labels or vectors of texts, or labels of their words."""

from typing import Any, Dict, Iterator, List, Optional, Tuple

from paddlehub.module.batches import computing, in_batches
from paddlehub.module.not_trained import NotTrained
from paddlehub.module.run_module import RunModule
from paddlehub.utils.sequences import reseg_token_label

from hubserve.module import serving

_TASKS = ["seq-cls", "token-cls", "text-matching"]


class TextServing:
    """Serving method that calls ``predict`` for the module's task."""

    task: Optional[str]
    label_map: Any
    predict: Any
    get_embedding: Any

    @serving
    def predict_method(self, data: List[List[str]], max_seq_len: int = 128, batch_size: int = 1, use_gpu: bool = False) -> Any:
        """Return labels of texts or pairs of texts, labels of each word, or vectors."""
        if self.task is None:
            return self.get_embedding(data, use_gpu)
        _check_task(self.task)
        if self.label_map:  # its numbers are texts if it was read from JSON
            self.label_map = {int(number): label for number, label in self.label_map.items()}
        results = self.predict(data, max_seq_len=max_seq_len, batch_size=batch_size, use_gpu=use_gpu)
        if self.task != "token-cls":
            return results
        return [labels[1 : len(texts[0]) + 1] for texts, labels in zip(data, results)]  # without [CLS] and padding


class TransformerModule(NotTrained, RunModule, TextServing):
    """Layer with ``task``, ``label_map``, ``get_tokenizer()`` and ``forward(input_ids, token_type_ids)``."""

    _tasks_supported = _TASKS

    get_tokenizer: Any

    def get_embedding(self, data: List[List[str]], use_gpu: bool = False) -> List[Any]:
        """Return ``[vector of the text, vectors of its tokens]`` for each text.

        Raises:
            RuntimeError: the module has a task.
        """
        if self.task is not None:
            raise RuntimeError(f"get_embedding needs a module with task=None; this one has task='{self.task}'")
        return list(self.predict(data=data, use_gpu=use_gpu))

    def predict(
        self,
        data: List[List[str]],
        max_seq_len: int = 128,
        split_char: str = "\002",
        batch_size: int = 1,
        use_gpu: bool = False,
    ) -> List[Any]:
        """Compute the answers for texts.

        Args:
            data: lists of one text, or of two.
            max_seq_len: the most tokens of one text.
            split_char: the separator of words that each get a label.
            batch_size: the number of texts computed at once; 1 is used for vectors.
            use_gpu: whether to compute on a GPU.
        Returns:
            For each text: a label; a list of labels; or ``[vector of the text, vectors of its tokens]``.
        """
        import paddle

        _check_task(self.task, or_none=True)
        paddle.set_device("gpu" if use_gpu else "cpu")
        results: List[Any] = []
        with computing(self):
            for columns in self._batches(data, max_seq_len, batch_size if self.task else 1, split_char):
                results += self._read_out(self._compute([paddle.to_tensor(each) for each in columns]))
        return results

    def _compute(self, columns: List[Any]) -> Any:
        if self.task != "text-matching":
            return self(*columns)
        names = ("query_input_ids", "query_token_type_ids", "title_input_ids", "title_token_type_ids")
        return self(**dict(zip(names, columns)))

    def _read_out(self, output: Any) -> List[Any]:
        if self.task is None:
            tokens, texts = output
            return [[texts.squeeze(0).numpy().tolist(), tokens.squeeze(0).numpy().tolist()]]
        best = output.argmax(axis=2 if self.task == "token-cls" else 1).numpy().tolist()
        if self.task == "token-cls":
            return [[self.label_map[number] for number in numbers] for numbers in best]
        return [self.label_map[number] for number in best]

    def _batches(self, data: List[List[str]], max_seq_len: int, batch_size: int, split_char: str) -> Iterator[Tuple[List[Any], ...]]:
        """Yield batches as columns: token numbers and types, and those of the second texts if texts are matched."""
        tokenizer = self.get_tokenizer()
        rows = [self._encode(tokenizer, list(texts), max_seq_len, split_char) for texts in data]
        for batch in in_batches(rows, batch_size):
            yield tuple(list(column) for column in zip(*batch))

    def _encode(self, tokenizer: Any, texts: List[Any], max_seq_len: int, split_char: str) -> List[List[int]]:
        settings: Dict[str, Any] = {"max_seq_len": max_seq_len, "pad_to_max_seq_len": True, "return_length": True}
        if self.task == "text-matching":
            if len(texts) != 2:
                raise RuntimeError(f"two texts are matched, got {len(texts)}")
            return [numbers for text in texts for numbers in _numbers(tokenizer(text=text, is_split_into_words=False, **settings))]
        if len(texts) not in (1, 2):
            raise RuntimeError(f"one text or two are given, got {len(texts)}")
        if self.task == "token-cls":
            texts[0] = reseg_token_label(tokenizer, texts[0].split(split_char))[0]
        if len(texts) == 2:
            settings["text_pair"] = texts[1]
        return _numbers(tokenizer(text=texts[0], is_split_into_words=self.task == "token-cls", **settings))


def _numbers(encoded: Any) -> List[List[int]]:
    """Return token numbers and types, under the names of old and new tokenizers."""
    types = encoded["token_type_ids"] if "token_type_ids" in encoded else encoded["segment_ids"]
    return [encoded["input_ids"], types]


def _check_task(task: Optional[str], or_none: bool = False) -> None:
    if task not in _TASKS and not (or_none and task is None):
        raise RuntimeError(f"the task '{task}' is unknown; known are {', '.join(_TASKS)}, and None for vectors")
