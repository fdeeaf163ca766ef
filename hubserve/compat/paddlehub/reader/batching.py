"""``paddlehub.reader.batching``: combine lists of token numbers of several lengths in one array."""

from typing import Any, List, Optional

import numpy as np


def pad_batch_data(
    insts: List[List[int]],
    pad_idx: int = 0,
    max_seq_len: Optional[int] = None,
    return_pos: bool = False,
    return_input_mask: bool = False,
    return_max_len: bool = False,
    return_num_token: bool = False,
    return_seq_lens: bool = False,
) -> Any:
    """Pad lists to the length of the longest, or to ``max_seq_len``.

    Returns:
        int64 (N, length, 1); with further options a list of it and, in this order: positions of the same form, a mask float32
        (N, length, 1) of the tokens without padding, the length, the number of tokens, the lengths int64 (N,).
    """
    length = max_seq_len or max(len(each) for each in insts)
    padded = np.full((len(insts), length), pad_idx, dtype="int64")
    positions = np.full((len(insts), length), pad_idx, dtype="int64")
    mask = np.zeros((len(insts), length), dtype="float32")
    for row, each in enumerate(insts):
        padded[row, : len(each)] = each
        positions[row, : len(each)] = range(len(each))
        mask[row, : len(each)] = 1
    made: List[Any] = [padded[:, :, None]]
    made += [positions[:, :, None]] if return_pos else []
    made += [mask[:, :, None]] if return_input_mask else []
    made += [length] if return_max_len else []
    made += [sum(len(each) for each in insts)] if return_num_token else []
    made += [np.array([len(each) for each in insts], dtype="int64")] if return_seq_lens else []
    return made if len(made) > 1 else made[0]
