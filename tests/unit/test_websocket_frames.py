"""Messages that are sent together arrive as separate messages."""

from __future__ import annotations

from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from deploy.entrypoints.connections.websocket import text_frames

MESSAGES = ["", "a", "ä" * 62, "x" * 125, "x" * 126, "x" * 65_535, "x" * 65_536, '{"type": "ping"}']


def test_a_client_reads_each_message() -> None:
    reader = StreamReader()
    reader.feed_data(text_frames(MESSAGES))
    frames = [next_frame(reader) for _ in MESSAGES]
    assert all((frame.opcode, frame.fin) == (Opcode.TEXT, True) for frame in frames)
    assert [bytes(frame.data).decode() for frame in frames] == MESSAGES


def next_frame(reader: StreamReader) -> Frame:
    """Return the next frame of a complete stream."""
    try:
        next(Frame.parse(reader.read_exact, mask=False))
    except StopIteration as end:
        frame: Frame = end.value
        return frame
    raise AssertionError("the frame is not complete")
