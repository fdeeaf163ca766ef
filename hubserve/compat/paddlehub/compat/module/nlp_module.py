"""``paddlehub.compat.module.nlp_module``: base classes of text modules from before Paddle 2, on Paddle's old predictor."""

import argparse
import ast
import os
from typing import Any, Dict, List, Optional

import numpy as np
from paddlehub._training import refuse
from paddlehub.module.command_line import CommandLine
from paddlehub.module.run_module import RunModule
from paddlehub.utils.parser import txt_parser

from hubserve.module import runnable


class DataFormatError(Exception):
    """The input cannot be used."""


class NLPBaseModule(RunModule):
    """Module with a vocabulary."""

    vocab_path: str

    def get_vocab_path(self) -> str:
        """Return the path of the model's vocabulary."""
        return self.vocab_path


class NLPPredictionModule(NLPBaseModule, CommandLine):
    """Module with a ``predict(texts=..., use_gpu=..., batch_size=...)`` method, and its model in ``pretrained_model_path``."""

    pretrained_model_path: str
    predict: Any

    def _set_config(self) -> None:
        """Load the model: ``cpu_predictor``, and ``gpu_predictor`` if ``CUDA_VISIBLE_DEVICES`` names a device."""
        core = _paddle_core()
        self.cpu_predictor = core.create_paddle_predictor(self._analysis_config(core))
        if os.environ.get("CUDA_VISIBLE_DEVICES", "")[:1].isdigit():
            config = self._analysis_config(core)
            config.enable_use_gpu(500, 0)  # MB to begin with; of the devices that are visible, the first
            self.gpu_predictor = core.create_paddle_predictor(config)

    def _analysis_config(self, core: Any) -> Any:
        path = self.pretrained_model_path
        files = [path + ".pdmodel", path + ".pdiparams"]
        config = core.AnalysisConfig(*(files if os.path.isfile(files[0]) else [path]))
        config.disable_glog_info()
        config.disable_gpu()
        return config

    def texts2tensor(self, texts: List[Dict[str, Any]]) -> Any:
        """Concatenate the token numbers of texts, each under ``processed``, in a PaddleTensor ``words`` (tokens, 1) int64."""
        numbers = [number for text in texts for number in text["processed"]]
        tensor = _paddle_core().PaddleTensor(np.array(numbers, dtype="int64"))
        tensor.name = "words"
        tensor.lod = [[0, *np.cumsum([len(text["processed"]) for text in texts]).tolist()]]
        tensor.shape = [len(numbers), 1]
        return tensor

    def to_unicode(self, texts: List[str]) -> List[str]:
        """Return the texts unchanged; Python 2 needed a conversion."""
        return texts

    @runnable
    def run_cmd(self, argvs: List[str]) -> Any:
        """Answer ``hub run``."""
        args = self.parse_command(argvs)
        texts = self.check_input_data(args)
        if not texts:
            self.parser.print_help()
            return None
        return self.predict(texts=texts, use_gpu=args.use_gpu, batch_size=args.batch_size)

    def add_module_config_arg(self) -> None:
        """Declare ``--use_gpu`` and ``--batch_size``."""
        self.arg_config_group.add_argument("--use_gpu", type=ast.literal_eval, default=False, help="whether use GPU for prediction")
        self.arg_config_group.add_argument("--batch_size", type=int, default=1, help="batch size for prediction")

    def add_module_input_arg(self) -> None:
        """Declare ``--input_file`` and ``--input_text``."""
        self.arg_input_group.add_argument("--input_file", type=str, default=None, help="file contain input data")
        self.arg_input_group.add_argument("--input_text", type=str, default=None, help="text to predict")

    def check_input_data(self, args: argparse.Namespace) -> List[str]:
        """Return the texts of the command line: a file's lines, or one text."""
        if not args.input_file:
            return [args.input_text] if args.input_text else []
        if not os.path.exists(args.input_file):
            raise FileNotFoundError(f"File {args.input_file} does not exist.")
        return txt_parser.parse(args.input_file, use_strip=True)


class TransformerModule(NLPBaseModule):
    """Base class of BERT and similar modules from before Paddle 2.

    Modules with a model and a method of their own work; methods that build programs are not supported.
    """

    def __init__(self, directory: Optional[str] = None, max_seq_len: int = 128, **_settings: Any) -> None:
        super().__init__()
        if directory:
            self.directory = str(directory)
        self.max_seq_len = max_seq_len

    def param_prefix(self) -> str:
        """Return the prefix of the names of its parameters."""
        return f"@HUB_{self.name}@"

    def context(self, *_args: Any, **_settings: Any) -> Any:
        """Raise: this is not supported here."""
        raise refuse(f"{type(self).__name__}.context")

    def get_embedding(self, *_args: Any, **_settings: Any) -> Any:
        """Raise: this is not supported here."""
        raise refuse(f"{type(self).__name__}.get_embedding, which builds a program,")

    def get_params_layer(self) -> Dict[str, int]:
        """Raise: this is not supported here."""
        raise refuse(f"{type(self).__name__}.get_params_layer")


def _paddle_core() -> Any:
    from paddle.framework import core

    return core
