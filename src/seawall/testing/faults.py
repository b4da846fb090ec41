"""Every fault by its name: ``faults.reset_after_request``, or ``faults.named("...")``."""

from __future__ import annotations

import gzip
from types import MappingProxyType

from seawall.testing.answer import Answer
from seawall.testing.fault import Fault
from seawall.testing.steps import (
    await_bytes,
    close,
    end,
    fin,
    goaway,
    hang,
    read_nothing,
    reset,
    reset_stream,
    send_data,
    send_head,
    send_raw,
    show_certificate,
)

_INTERNAL_ERROR = 2
_REFUSED_STREAM = 7
_HALF_A_HEAD = send_raw(b"HTTP/1.1 200 OK\r\nConte")
_SLOW_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_HUGE_HEADER = b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000
_UNZIPPABLE = gzip.compress(b"x" * 1000)[:-20] + b"y" * 20

# Of the connection, before any request.
fin_on_accept = Fault("fin_on_accept", fin, at="accept")
reset_on_accept = Fault("reset_on_accept", reset, at="accept")
tls_silence = Fault("tls_silence", hang, at="accept")
tls_reset = Fault("tls_reset", await_bytes, reset, at="accept")
tls_garbage = Fault("tls_garbage", await_bytes, send_raw(b"this is no TLS"), hang, at="accept")
untrusted_certificate = Fault("untrusted_certificate", show_certificate("untrusted"), at="accept")
expired_certificate = Fault("expired_certificate", show_certificate("expired"), at="accept")
certificate_of_another_host = Fault(
    "certificate_of_another_host", show_certificate("other host"), at="accept"
)

# During the upload.
unread_upload = Fault("unread_upload", read_nothing, at="head")
early_413 = Fault("early_413", Answer(413), close, at="head")
reset_in_upload = Fault("reset_in_upload", await_bytes, reset, at="head")

# Instead of an answer.
no_response = Fault("no_response", fin)
reset_after_request = Fault("reset_after_request", reset)
silence = Fault("silence", hang)

# In the head of the answer; HTTP/1.1 only.
cut_head = Fault("cut_head", _HALF_A_HEAD, fin, only="HTTP/1.1")
reset_in_head = Fault("reset_in_head", _HALF_A_HEAD, reset, only="HTTP/1.1")
stalled_head = Fault("stalled_head", _HALF_A_HEAD, hang, only="HTTP/1.1")
slow_head = Fault("slow_head", send_raw(_SLOW_HEAD, piece=4, every=0.002), only="HTTP/1.1")
garbage_status_line = Fault(
    "garbage_status_line", send_raw(b"NONSENSE\r\n\r\n"), hang, only="HTTP/1.1"
)
bad_header = Fault(
    "bad_header", send_raw(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"), hang, only="HTTP/1.1"
)
huge_header = Fault("huge_header", send_raw(_HUGE_HEADER), hang, only="HTTP/1.1")

# In the body of the answer.
truncated_body = Fault("truncated_body", send_head(length=100), send_data(b"half"), fin)
reset_in_body = Fault("reset_in_body", send_head(length=100), send_data(b"half"), reset)
stalled_body = Fault("stalled_body", send_head(length=100), send_data(b"half"), hang)
dripping_body = Fault("dripping_body", Answer(chunks=[b"x"] * 5, every=0.01))
bad_gzip = Fault("bad_gzip", Answer(body=_UNZIPPABLE, headers={"content-encoding": "gzip"}))
# Of HTTP/1.1 only.
cut_chunk = Fault("cut_chunk", send_head(), send_raw(b"8\r\nhalf"), fin, only="HTTP/1.1")
bad_chunk = Fault("bad_chunk", send_head(), send_raw(b"zz\r\nhalf\r\n"), hang, only="HTTP/1.1")
close_delimited_body = Fault(
    "close_delimited_body", send_raw(b"HTTP/1.1 200 OK\r\n\r\nok"), fin, only="HTTP/1.1"
)

# Of a kept connection: this request is answered, and the next one on its connection meets the end.
keep_alive_fin = Fault("keep_alive_fin", Answer(), await_bytes, fin)
keep_alive_reset = Fault("keep_alive_reset", Answer(), await_bytes, reset)

# Of HTTP/2 only.
refused_stream = Fault("refused_stream", reset_stream(_REFUSED_STREAM), only="HTTP/2")
stream_reset = Fault("stream_reset", reset_stream(_INTERNAL_ERROR), only="HTTP/2")
stream_reset_in_body = Fault(
    "stream_reset_in_body",
    send_head(length=100),
    send_data(b"half"),
    reset_stream(_INTERNAL_ERROR),
    only="HTTP/2",
)
goaway_without_stream = Fault("goaway_without_stream", goaway(processed=False), fin, only="HTTP/2")
goaway_with_stream = Fault("goaway_with_stream", goaway(processed=True), fin, only="HTTP/2")
goaway_in_body = Fault(
    "goaway_in_body",
    send_head(length=100),
    send_data(b"half"),
    goaway(processed=True, code=_INTERNAL_ERROR),
    fin,
    only="HTTP/2",
)
short_body = Fault("short_body", send_head(length=100), send_data(b"half"), end, only="HTTP/2")

BY_NAME = MappingProxyType(
    {value.name: value for value in list(globals().values()) if isinstance(value, Fault)}
)


def named(name: str) -> Fault:
    """Return the fault of that name.

    Raises:
        ValueError: there is none; the error lists all.
    """
    if name not in BY_NAME:
        raise ValueError(f"there is no fault {name!r}; there are {', '.join(sorted(BY_NAME))}")
    return BY_NAME[name]
