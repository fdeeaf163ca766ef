def get_default_settings():
    return {
        "Global": {
            "inference_model_dir": "../inference/",
            "use_gpu": False,
            "cpu_num_threads": 1,
        },
        "PostProcess": {
            "Topk": {
                "topk": 5,
                "class_id_map_file": "../inference/imagenet1k_label_list.txt",
            }
        },
    }
