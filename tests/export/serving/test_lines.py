"""Lines to files, pipes and FIFOs that nobody waits for."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import resource
import stat
import threading
import time

import pytest

from export.serving import lines as module
from export.serving.access import AccessLog
from export.serving.lines import LineHandler, Lines
from tf_mixed_nash.errors import InputError


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def full_pipe():
    """The write end of a pipe that nobody reads, full but for a few bytes; and its read end."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writing, True)
    yield writing, reading
    os.close(reading)


def test_lines_come_in_order_and_whole(tmp_path):
    lines = Lines(tmp_path / "log")
    threads = [
        threading.Thread(target=lambda i=i: [lines.write(f"{i} {k}") for k in range(200)])
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.close()
    found = (tmp_path / "log").read_text().splitlines()
    for i in range(4):
        assert [x for x in found if x.startswith(f"{i} ")] == [f"{i} {k}" for k in range(200)]
    assert lines.lost == 0


def test_a_pipe_that_nobody_reads_stops_nobody(full_pipe, monkeypatch):
    monkeypatch.setattr(module, "_MOST_LINES", 50)
    writing, reading = full_pipe
    lines = Lines(writing)
    began = time.monotonic()
    for i in range(1000):
        lines.write(f"line {i}")
    assert time.monotonic() - began < 5
    assert 900 < lines.lost < 1000, "what is beyond the number is dropped and counted"
    assert not lines.flush(0.05)
    lines.close()  # does not wait for ever, either
    os.read(reading, 2**20)


def test_lines_go_on_when_the_pipe_is_read_again(full_pipe):
    writing, reading = full_pipe
    lines = Lines(writing)
    lines.write("first")
    time.sleep(0.05)
    while os.read(reading, 2**16).endswith(b"x") and not lines.flush(0):
        pass
    lines.write("second")
    assert lines.flush(10)
    rest = os.read(reading, 2**16) if os.get_blocking(reading) else b""
    assert rest.endswith(b"second\n") or b"second" in rest
    lines.close()


def test_a_descriptor_of_any_number_is_waited_for(full_pipe):
    """That of a server with a thousand connections; `select` knows none above 1,023."""
    writing, reading = full_pipe
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(2048, before[0]), before[1]))
    try:
        high = fcntl.fcntl(writing, fcntl.F_DUPFD, 1100)
        os.set_blocking(high, False)
        lines = Lines(high)
        lines.write("here")
        time.sleep(0.05)
        os.read(reading, 2**20)
        assert lines.flush(5)
        assert os.read(reading, 100) == b"here\n"
        lines.close()
        os.close(high)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_full_disk_loses_nothing_that_fits_in_memory(tmp_path, monkeypatch):
    lines = Lines(tmp_path / "log")
    write, full = os.write, [True]

    def fails(file, data):
        if full[0]:
            if len(data) > 3:
                write(file, data[:3])
            raise OSError(28, "No space left on device")
        return write(file, data)

    monkeypatch.setattr(module.os, "write", fails)
    lines.write("first line")
    time.sleep(0.05)
    full[0] = False
    lines.write("second line")
    wait_for(lambda: lines.flush(0.01))
    lines.close()
    assert "second line" in (tmp_path / "log").read_text().splitlines()


def test_a_line_that_was_written_in_part_is_ended_and_counted(tmp_path, monkeypatch):
    lines = Lines(tmp_path / "log")
    write, calls = os.write, []

    def fills_up(file, data):
        calls.append(data)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(file, data[:3] if len(calls) == 1 else data)

    monkeypatch.setattr(module.os, "write", fills_up)
    lines.write("first line")
    wait_for(lambda: len(calls) == 2)
    lines.write("second line")
    lines.close()
    assert (tmp_path / "log").read_text() == "fir\nsecond line\n"
    assert lines.lost == 1


def test_dev_full_is_tried_again_and_again():
    lines = Lines(module.Path("/dev/full"))
    lines.write("x")
    assert not lines.flush(0.3)
    lines.close()


def test_a_file_that_is_moved_away_is_followed(tmp_path, monkeypatch):
    """By rename, as logrotate does it, with SIGHUP and without."""
    path = tmp_path / "log"
    lines = Lines(path)
    lines.write("one")
    assert lines.flush(10)
    path.rename(tmp_path / "log.1")
    lines.reopen()
    lines.write("two")
    assert lines.flush(10)
    path.rename(tmp_path / "log.2")
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    lines.write("three")
    assert lines.flush(10)
    lines.close()
    texts = [(tmp_path / name).read_text() for name in ("log.1", "log.2", "log")]
    assert texts == ["one\n", "two\n", "three\n"]


def test_a_folder_that_cannot_be_opened_keeps_the_old_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    lines = Lines(folder / "log")
    folder.rename(tmp_path / "moved")
    lines.reopen()
    lines.write("kept")
    assert lines.flush(10)
    lines.close()
    assert (tmp_path / "moved" / "log").read_text() == "kept\n"


def test_a_fifo_waits_for_its_reader(tmp_path):
    """Opening it does not wait, nor does writing; a reader that comes later gets the lines."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    lines = Lines(path)
    lines.write("early")
    assert not lines.flush(0.05)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    wait_for(lambda: lines.flush(0.01))
    assert os.read(reading, 100) == b"early\n"
    os.close(reading)  # and goes again
    lines.write("alone")
    time.sleep(0.05)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    wait_for(lambda: lines.flush(0.01))
    assert b"alone\n" in os.read(reading, 100)
    os.close(reading)
    lines.close()


def test_the_log_of_the_program_goes_the_same_way(tmp_path):
    lines = Lines(tmp_path / "log")
    handler = LineHandler(lines)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "a %s", ("é\udcff",), None))
    lines.close()
    assert (tmp_path / "log").read_text() == "INFO a é\\udcff\n"


def test_lost_lines_are_told(tmp_path):
    log = AccessLog(str(tmp_path / "log"))
    log.write(0.5, a=1)
    log._lines.lost = 7
    log.write(0.5, a=2)
    log.write(0.5, a=3)
    assert log.lost == 7
    log.close()
    found = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [x.get("lost") for x in found] == [None, 7, None]
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) & 0o600 == 0o600


def test_a_log_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--access_log=.* cannot be written"):
        AccessLog(str(tmp_path))
    off = AccessLog("")
    off.write(0.1, a=1)
    assert not off.on
