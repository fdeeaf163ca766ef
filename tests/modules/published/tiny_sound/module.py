"""A classifier of sounds: loud or quiet. It finds its files as the published ones do, under MODULE_HOME."""

import os

import paddle
import paddle.nn as nn
from paddlehub.env import MODULE_HOME
from paddlehub.module.audio_module import AudioClassifierModule
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(name="tiny_sound", version="1.0.0", summary="Hears.", type="audio/sound_classification", meta=AudioClassifierModule)
class TinySound(nn.Layer):
    def __init__(self, task: str = None, **kwargs):
        super(TinySound, self).__init__()
        self.task = task
        with open(os.path.join(MODULE_HOME, "tiny_sound", "labels.txt")) as file:
            self.label_map = dict(enumerate(file.read().split()))

    def forward(self, feats, labels=None):
        loudness = feats.abs().mean(axis=1)
        return paddle.stack([1 - loudness, loudness], axis=1)

    @serving
    def tag(self, waves):
        return self.predict(waves, sample_rate=16000, feat_type="raw", batch_size=2)
