"""Pad and cut lists of token numbers, and compute spectrograms of sounds."""

from typing import Any, List, Optional, Tuple

import numpy as np


def pad_sequence(ids: List[int], max_seq_len: int, pad_token_id: int) -> List[int]:
    """Pad a list to ``max_seq_len``."""
    if len(ids) > max_seq_len:
        raise AssertionError(f"a list of {len(ids)} numbers cannot be padded to {max_seq_len}")
    return list(ids) + [pad_token_id] * (max_seq_len - len(ids))


def trunc_sequence(ids: List[int], max_seq_len: int) -> List[int]:
    """Cut a list to ``max_seq_len``."""
    if len(ids) < max_seq_len:
        raise AssertionError(f"a list of {len(ids)} numbers cannot be cut to {max_seq_len}")
    return list(ids[:max_seq_len])


def reseg_token_label(tokenizer: Any, tokens: List[str], labels: Optional[List[str]] = None) -> Tuple[List[str], Optional[List[str]]]:
    """Split words into the tokenizer's pieces; a label ``B-`` becomes ``I-`` for a word's further pieces."""
    if labels and len(labels) != len(tokens):
        raise ValueError(f"there are {len(tokens)} words and {len(labels)} labels; each word needs one")
    pieces: List[str] = []
    piece_labels: List[str] = []
    for index, token in enumerate(tokens):
        own = tokenizer._tokenize(token)
        pieces += own
        if labels and own:
            label = labels[index]
            further = "I-" + label[2:] if label.startswith("B-") else label
            piece_labels += [label] + [further] * (len(own) - 1)
    return pieces, piece_labels if labels else None


def extract_melspectrogram(
    y: np.ndarray,
    sample_rate: int = 32000,
    window_size: int = 1024,
    hop_size: int = 320,
    mel_bins: int = 64,
    fmin: int = 50,
    fmax: int = 14000,
    window: str = "hann",
    center: bool = True,
    pad_mode: str = "reflect",
    ref: float = 1.0,
    amin: float = 1e-10,
    top_db: Optional[float] = None,
) -> np.ndarray:
    """Compute the mel spectrogram of a waveform, float (frames, mel_bins) in dB; needs librosa in the module's environment."""
    import librosa

    spectrum = librosa.stft(
        np.asarray(y), n_fft=window_size, hop_length=hop_size, win_length=window_size, window=window, center=center, pad_mode=pad_mode
    )
    weights = librosa.filters.mel(sr=sample_rate, n_fft=window_size, n_mels=mel_bins, fmin=fmin, fmax=fmax)
    mel = np.matmul(weights, np.abs(spectrum) ** 2)
    return np.asarray(librosa.power_to_db(mel, ref=ref, amin=amin, top_db=top_db)).transpose()
