"""Test the imports of published modules from ``paddlehub``: each line comes from at least one of them."""

import json
from pathlib import Path

from tests.unit.compat.script import run_script

LINES = """
import paddlehub as hub
from paddlehub import Module
from paddlehub import NLPPredictionModule
from paddlehub import TransformerModule
from paddlehub import BertTokenizer
from paddlehub.module.module import Module, RunModule, moduleinfo, runnable, serving
from paddlehub.module.cv_module import ImageClassifierModule
from paddlehub.module.cv_module import ImageColorizeModule
from paddlehub.module.cv_module import ImageSegmentationModule
from paddlehub.module.cv_module import ImageServing
from paddlehub.module.cv_module import StyleTransferModule
from paddlehub.module.cv_module import Yolov3Module
from paddlehub.module.nlp_module import DataFormatError
from paddlehub.module.nlp_module import EmbeddingModule
from paddlehub.module.nlp_module import TransformerModule
from paddlehub.module.audio_module import AudioClassifierModule
from paddlehub.compat.module.nlp_module import DataFormatError
from paddlehub.compat import paddle_utils
from paddlehub.compat.paddle_utils import run_in_static_mode
from paddlehub.compat.task.config import RunConfig
from paddlehub.compat.datasets.base_dataset import InputExample
from paddlehub.common import utils
from paddlehub.common.dir import MODULE_HOME, THIRD_PARTY_HOME, DATA_HOME
from paddlehub.common.downloader import default_downloader
from paddlehub.common.logger import logger
from paddlehub.common.paddle_helper import add_vars_prefix
from paddlehub.common.paddle_helper import get_variable_info
from paddlehub.common.utils import mkdir, sys_stdin_encoding
from paddlehub.env import MODULE_HOME
from paddlehub.env import CACHE_HOME, CONF_HOME, DATA_HOME, HUB_HOME, LOG_HOME, SOURCES_HOME, THIRD_PARTY_HOME, TMP_HOME, USER_HOME
from paddlehub.io.parser import txt_parser, yaml_parser
from paddlehub.reader import tokenization
from paddlehub.reader.batching import pad_batch_data
from paddlehub.reader.tokenization import FullTokenizer, convert_to_unicode, load_vocab
from paddlehub.reader.cv_reader import ObjectDetectionReader
from paddlehub.utils import log, parser, utils
from paddlehub.utils.log import logger
from paddlehub.utils.parser import txt_parser
from paddlehub.utils.download import download_data
from paddlehub.utils.utils import base64_to_cv2, cv2_to_base64, download, logger, Timer
from paddlehub.utils.xarfile import unarchive_with_progress
import paddlehub.vision.transforms as T
import paddlehub.vision.segmentation_transforms as T
import paddlehub.vision.functional as F
import paddlehub.vision.detect_transforms as T
from paddlehub.vision.transforms import CenterCrop, Compose, Normalize, RandomHorizontalFlip, Resize
from paddlehub.vision.utils import get_img_file
from paddlehub.datasets import Flowers
from paddlehub.datasets.base_nlp_dataset import TextClassificationDataset
from paddlehub.dataset.base_cv_dataset import BaseCVDataset
from paddlehub.finetune.trainer import Trainer
from paddlehub.text.bert_tokenizer import BertTokenizer
"""


def test_every_line_resolves_and_loads_no_framework(home: Path) -> None:
    script = f"""
    import json, sys
    failed = []
    for line in {LINES.strip().splitlines()!r}:
        try:
            exec(line, {{}})
        except Exception as error:
            failed.append(f"{{line}}: {{error!r}}")
    frameworks = ("paddle", "cv2", "PIL", "yaml", "librosa", "paddlenlp", "requests")
    print(json.dumps([failed, [name for name in frameworks if name in sys.modules]]))
    """
    assert json.loads(run_script(script, home)) == [[], []]


def test_names_for_training_can_be_a_base_and_raise_when_they_are_used(home: Path) -> None:
    script = """
    import paddlehub as hub
    from paddlehub.datasets.base_nlp_dataset import TextClassificationDataset
    from paddlehub.finetune.trainer import Trainer
    from paddlehub.module.cv_module import ImageClassifierModule
    from paddlehub.vision.transforms import RandomBlur
    class Mine(TextClassificationDataset):
        pass
    for use in (Mine, lambda: Trainer(None, None), RandomBlur, hub.ULMFiTStrategy, ImageClassifierModule().training_step):
        try:
            use()
        except Exception as error:
            print(error)
    try:
        hub.no_such_name
    except AttributeError as error:
        print(error)
    """
    lines = run_script(script, home).splitlines()
    assert len(lines) == 6
    assert all("is for training, and hubserve serves trained modules only" in line for line in lines[:5])
    assert lines[5] == "module 'paddlehub' has no attribute 'no_such_name'"


def test_modules_that_need_no_paddle_run_where_there_is_none(home: Path) -> None:
    script = """
    import sys
    class NoPaddle:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in ("paddle", "cv2"):
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)
    sys.meta_path.insert(0, NoPaddle())
    import paddlehub as hub
    from paddlehub.module.cv_module import ImageClassifierModule
    from paddlehub.module.module import moduleinfo, serving
    @moduleinfo(name="m", version="1.0.0")
    class M(hub.Module):
        def _initialize(self):
            pass
        @serving
        def say(self, text):
            return text
    module = M(directory="x")
    print(module.say("hello"), module.directory, M.version)
    """
    assert run_script(script, home).split() == ["hello", "x", "1.0.0"]
