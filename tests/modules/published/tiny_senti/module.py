"""A text classifier from before Paddle 2: words are numbers, and the old predictor infers."""

import os

import paddlehub as hub
from paddlehub.common.logger import logger
from paddlehub.common.paddle_helper import add_vars_prefix  # noqa: F401 - published modules import it for training
from paddlehub.module.module import moduleinfo, serving

from tiny_senti.processor import load_vocab, preprocess


@moduleinfo(name="tiny_senti", version="1.2.1", summary="Good or bad.", author="hubserve", type="nlp/sentiment_analysis")
class TinySenti(hub.NLPPredictionModule):
    def _initialize(self):
        self.pretrained_model_path = os.path.join(self.directory, "infer_model")
        self.vocab_path = os.path.join(self.directory, "vocab.txt")
        self.vocab = load_vocab(self.vocab_path)
        self.predict = self.sentiment_classify
        self._set_config()

    @serving
    def sentiment_classify(self, texts=[], data={}, use_gpu=False, batch_size=1):  # noqa: B006 - as published
        predicted_data = self.to_unicode(texts or data["text"])
        logger.info("classifying %d texts", len(predicted_data))
        results = []
        for text in predicted_data:
            tensor_words = self.texts2tensor(preprocess([text], self.vocab))
            batch_out = self.cpu_predictor.run([tensor_words])
            good = float(batch_out[0].as_ndarray()[0][1])
            results.append({"text": text, "sentiment_key": "positive" if good > 0.5 else "negative", "positive_probs": round(good, 4)})
        return results
