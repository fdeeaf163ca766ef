"""Settings of this module. Every key but main_indicator can also be given in init_args."""


def get_default_confg():
    """Return the settings as nested dicts; PaddleClas's modules use this name."""
    return {
        "Global": {
            # folder of inference.pdmodel + inference.pdiparams (or inference.json, or an .onnx file)
            "inference_model_dir": "../inference/",
            # paddle | openvino | onnxruntime | auto: the fastest one here that agrees with Paddle
            "engine": "auto",
            # the most images computed at once; requests are merged up to it
            "batch_size": 8,
            "use_gpu": False,
            "gpu_mem": 8000,  # MiB
            "use_fp16": False,  # on a GPU; changes scores slightly
            "use_tensorrt": False,  # on a GPU
            "enable_mkldnn": True,
            "cpu_num_threads": None,  # None: this instance's share of the cores
            "ir_optim": True,
            "enable_memory_optim": True,
        },
        # preprocessing in the server; None: as in the inference.yml beside the model, else by the model's input size
        "PreProcess": {"resize_short": None, "crop_size": None, "mean": None, "std": None},
        "PostProcess": {
            "main_indicator": "Topk",
            "Topk": {
                # None: as in inference.yml, else 5
                "topk": None,
                # one name per line, or "<class id> <name>"; "auto": as in inference.yml, else the default below; None: no names
                "class_id_map_file": "auto",
                # used if it has exactly as many names as the model has classes
                "default_class_id_map_file": "../inference/imagenet1k_label_list.txt",
                # apply softmax to scores that are not probabilities; None: as in inference.yml, else not
                "softmax": None,
            },
        },
    }
