"""``paddlehub.common.downloader`` under its old name."""

from paddlehub.utils.download import Downloader, default_downloader

__all__ = ["Downloader", "default_downloader"]
