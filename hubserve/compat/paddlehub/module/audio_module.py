"""``paddlehub.module.audio_module``: the base class of modules that classify sounds."""

from typing import Any, Dict, List, Optional

import numpy as np
from paddlehub.module.batches import computing, in_batches
from paddlehub.module.not_trained import NotTrained
from paddlehub.module.run_module import RunModule
from paddlehub.utils.sequences import extract_melspectrogram


class AudioClassifierModule(NotTrained, RunModule):
    """Layer with ``task`` (``"sound-cls"`` or None), ``label_map`` (number to label) and ``forward(features) -> scores``."""

    task: Optional[str]
    label_map: Dict[int, str]

    def predict(
        self, data: List[Any], sample_rate: int, batch_size: int = 1, feat_type: str = "mel", use_gpu: bool = False
    ) -> List[Dict[str, float]]:
        """Classify sounds.

        Args:
            data: waveforms.
            sample_rate: of all of them, in Hz.
            batch_size: the number of waveforms computed at once.
            feat_type: ``mel`` for spectrograms (needs librosa), anything else for the waveforms themselves.
            use_gpu: whether to compute on a GPU.
        Returns:
            For each waveform, label to score, the best first.
        """
        import paddle

        if self.task not in ("sound-cls", None):
            raise RuntimeError(f"the task is '{self.task}', and a sound is classified by task='sound-cls', or tagged by task=None")
        paddle.set_device("gpu" if use_gpu else "cpu")
        features = [extract_melspectrogram(each, sample_rate=sample_rate) if feat_type == "mel" else each for each in data]
        results = []
        with computing(self):
            for batch in in_batches(features, batch_size):
                scores = self(paddle.to_tensor(np.array(batch, dtype="float32"))).numpy()
                results += [{self.label_map[int(index)]: row[index] for index in np.argsort(-row)} for row in scores]
        return results
