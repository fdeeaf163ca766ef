"""Settings of this module: every key can be set in init_args, and those of OPTIONS also in a request or in predict_args."""

#: the settings of a single request
OPTIONS = (
    "det_limit_side_len",
    "det_limit_type",
    "det_db_thresh",
    "det_db_box_thresh",
    "det_db_unclip_ratio",
    "use_dilation",
    "det_db_score_mode",
    "use_angle_cls",
    "cls_thresh",
    "drop_score",
)


def read_params():
    """Return the settings, with the names and values of PaddleOCR's hubserving where it has them."""
    return {
        # folders of inference.pdmodel + inference.pdiparams (or inference.json, or an .onnx file)
        "det_model_dir": "../inference/ocr/det/",
        "cls_model_dir": "../inference/ocr/cls/",
        "rec_model_dir": "../inference/ocr/rec/",
        # one character in each line, in the order of the recognition model's classes
        "rec_char_dict_path": "../inference/ocr/ppocr_keys_v1.txt",
        # paddle | openvino | onnxruntime | auto: for each model the fastest one here that agrees with Paddle
        "engine": "auto",
        "use_gpu": False,
        "gpu_mem": 8000,  # MiB
        "use_fp16": False,  # on a GPU; changes confidences slightly
        "use_tensorrt": False,  # on a GPU
        "enable_mkldnn": True,
        "cpu_num_threads": None,  # None: this instance's share of the cores
        "ir_optim": True,
        "enable_memory_optim": True,
        "max_images": 64,  # in one request; a page takes up to a second or more, and a request must end in time
        # pictures are scaled until their longer side is 960 pixels at most ("max"), or their shorter side at least ("min")
        "det_limit_side_len": 960,
        "det_limit_type": "max",
        "det_db_thresh": 0.3,  # a pixel is text above this probability
        "det_db_box_thresh": 0.5,  # a box is kept if its pixels reach this on average
        "det_db_unclip_ratio": 1.6,  # how much boxes grow
        "use_dilation": False,  # thicken the detected text by a pixel
        "det_db_score_mode": "slow",  # average over the outline of a line, which may be curved; "fast": over its box
        "use_angle_cls": True,  # turn lines that are upside down
        "cls_batch_num": 30,  # lines classified at once
        "cls_thresh": 0.9,  # a line is turned at this probability or above
        "rec_batch_num": 6,  # lines of similar width read at once; fewer wide ones
        "drop_score": 0.5,  # lines below this confidence are left out
    }
