"""Test the helpers that modules import from ``paddlehub.utils``."""

import http.server
import io
import logging
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from paddlehub.reader import batching, tokenization
from paddlehub.utils import download, files, log, parser, sequences, timing, xarfile
from paddlehub.utils.version import Version, version_compare

from hubserve.kinds.versions import satisfies


@pytest.mark.parametrize(
    ("older", "newer"),
    [("1.9", "1.10"), ("1.0rc1", "1.0"), ("1.0", "1.0.post1"), ("nightly", "0.1"), ("1.0.0", "1.0.1"), ("2.0.0rc2", "2.0.0rc5")],
)
def test_versions_compare_by_their_numbers(older: str, newer: str) -> None:
    assert Version(older) < newer
    assert Version(newer) > older
    assert Version(newer) >= Version(older)
    assert Version(older) <= Version(older)
    assert Version(older) != newer
    assert version_compare(newer, older)
    assert not version_compare(older, newer)


def test_equal_versions_are_equal_and_conditions_are_understood() -> None:
    assert Version("1.0") == "1.0.0"
    assert len({Version("1.0"), Version("1.0.0")}) == 1
    assert [each for each in ("1.0", "1.5", "2.0") if satisfies(each, ">1")] == ["1.5", "2.0"]
    assert Version("1.5").match("<=1.5")
    assert Version("1.5").match("")
    assert not Version("1.5").match("=1.4")


def test_text_files_are_read_in_utf_8_or_gbk_without_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text(" 你好 \n\nb\n", encoding="gbk")
    assert parser.txt_parser.parse(str(path)) == ["你好", "b"]
    path.write_text(" a \n\nb\n", encoding="utf-8")
    assert parser.txt_parser.parse(str(path), use_strip=False) == [" a \n", "\n", "b\n"]
    path.write_text("id,name\n1,x\n2,y\n")
    assert parser.csv_parser.parse(str(path)) == {"id": ["1", "2"], "name": ["x", "y"]}


def test_the_logger_writes_lines_and_nothing_while_it_is_disabled(caplog: pytest.LogCaptureFixture) -> None:
    logger = log.Logger("paddlehub-test")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.logger.addHandler(handler)
    logger.info("one %d", 1)
    logger.train("trained")
    logger.disable()
    logger.error("unheard")
    logger.enable()
    with logger.processing("working"), logger.use_terminator("|"):
        logger.warning("two")
    assert stream.getvalue() == "one 1\ntrained\nworking\ntwo|"
    assert logger.is_enable


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Return the address of a file server."""
    site = tmp_path / "site"
    site.mkdir()
    with zipfile.ZipFile(site / "model.zip", "w") as archive:
        archive.writestr("model/weights", "w" * 1000)
    with tarfile.open(site / "evil.tar", "w") as archive:
        member = tarfile.TarInfo("../escaped")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))

    def handle(*arguments: object) -> http.server.SimpleHTTPRequestHandler:
        return http.server.SimpleHTTPRequestHandler(*arguments, directory=str(site))  # type: ignore[arg-type]

    http.server.SimpleHTTPRequestHandler.log_message = lambda *_: None  # type: ignore[method-assign]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handle) as server:  # type: ignore[arg-type]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_files_are_fetched_and_archives_unpacked_inside_their_folder(home: Path, tmp_path: Path, address: str) -> None:
    assert Path(download.download(address + "/model.zip", str(tmp_path / "got"))).stat().st_size > 100
    download.default_downloader.download_file_and_uncompress(address + "/model.zip", str(tmp_path / "models"), print_progress=True)
    assert (tmp_path / "models" / "model" / "weights").read_text() == "w" * 1000
    assert download.default_downloader.download_file(address + "/model.zip", str(tmp_path / "m"), "n.zip")[2] == str(
        tmp_path / "m" / "n.zip"
    )
    with pytest.raises(ValueError, match="outside"):
        download.default_downloader.download_file_and_uncompress(address + "/evil.tar", str(tmp_path / "deep" / "models"))
    assert not (tmp_path / "deep" / "escaped").exists()
    with pytest.raises(ValueError, match="http"):
        download.download("file:///etc/passwd", str(tmp_path))
    assert not list((home / "tmp").iterdir())


def test_archives_with_links_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        member = tarfile.TarInfo("link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(member)
    with pytest.raises(ValueError, match="links"):
        xarfile.unarchive(str(tmp_path / "link.tar"), str(tmp_path / "out"))
    assert xarfile.is_xarfile(str(tmp_path / "link.tar"))
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(ValueError, match="neither"):
        xarfile.unarchive(str(tmp_path / "text"), str(tmp_path / "out"))


def test_records_hashes_and_temporary_places_lie_in_the_home(home: Path, tmp_path: Path) -> None:
    with files.generate_tempdir() as folder, files.generate_tempfile() as file:
        assert Path(folder).parent == Path(file.name).parent == home / "tmp"
    try:
        raise KeyError("deep")
    except KeyError:
        record = files.record_exception("it failed")
    assert "KeyError" in Path(record).read_text()
    assert Path(record).parent == home / "log"
    (tmp_path / "text").write_text("abc")
    assert files.md5("abc") == files.md5_of_file(str(tmp_path / "text")) == "900150983cd24fb0d6963f7d28e17f72"
    (tmp_path / "fresh_one.py").write_text("value = 1")
    assert files.load_py_module(str(tmp_path), "fresh_one").value == 1


def test_sequences_are_padded_truncated_and_split_into_pieces() -> None:
    assert sequences.pad_sequence([1, 2], 4, 0) == [1, 2, 0, 0]
    assert sequences.trunc_sequence([1, 2, 3], 2) == [1, 2]
    with pytest.raises(AssertionError):
        sequences.pad_sequence([1, 2], 1, 0)
    with pytest.raises(AssertionError):
        sequences.trunc_sequence([1], 2)

    class Letters:
        def _tokenize(self, word: str) -> list[str]:
            return list(word)

    assert sequences.reseg_token_label(Letters(), ["ab", "c"], ["B-X", "O"]) == (["a", "b", "c"], ["B-X", "I-X", "O"])
    assert sequences.reseg_token_label(Letters(), ["ab", "", "c"]) == (["a", "b", "c"], None)
    with pytest.raises(ValueError, match="each word needs one"):
        sequences.reseg_token_label(Letters(), ["a"], ["O", "O"])
    assert timing.seconds_to_hms(3725.9) == "01:02:05"
    timer = timing.Timer(4)
    timer.start()
    assert [timer.count() for _ in range(5)] == [1, 2, 3, 4, 4]


def test_texts_are_cut_into_the_longest_pieces_of_the_vocabulary(tmp_path: Path) -> None:
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("[PAD]\n[UNK]\nun\n##aff\n##able\n好\n,\nhello\n", encoding="utf-8")
    tokenizer = tokenization.FullTokenizer(str(vocab))
    tokens = tokenizer.tokenize("UNaffable, 好héllo\txyz\u200b")
    assert tokens == ["un", "##aff", "##able", ",", "好", "hello", "[UNK]"]
    assert tokenizer.convert_tokens_to_ids(tokens) == [2, 3, 4, 6, 5, 7, 1]
    assert tokenizer.convert_ids_to_tokens([2, 0]) == ["un", "[PAD]"]
    vocab.write_text("a\t5\nb\t9\n")
    assert tokenization.load_vocab(str(vocab)) == {"a": 5, "b": 9}
    assert tokenization.convert_to_unicode("grün".encode()) == "grün"


def test_lists_become_one_array_with_a_mask() -> None:
    padded, mask = batching.pad_batch_data([[3, 4], [5]], pad_idx=9, max_seq_len=3, return_input_mask=True)
    assert (padded.shape, padded.dtype, mask.dtype) == ((2, 3, 1), np.int64, np.float32)
    assert padded[:, :, 0].tolist() == [[3, 4, 9], [5, 9, 9]]
    assert mask[:, :, 0].tolist() == [[1, 1, 0], [1, 0, 0]]
    assert batching.pad_batch_data([[3, 4], [5]]).shape == (2, 2, 1)
