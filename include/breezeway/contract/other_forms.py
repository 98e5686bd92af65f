"""What a payload may be that is not in the contract's form, and what helps."""

import re

_LOOKED_AT = 1000
_BYTES = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
_HEX = re.compile(r"(0[xX])?((?:[0-9A-Fa-f]{2})+)")
_PAIRS = r"\??[\w.\[\]%-]+ *[=:] *[^=&;,\s]+([&;,\s] *[\w.\[\]%-]+ *[=:] *[^=&;,\s]*)*[;,]?"
_DECODED = "decode it before it is stored or sent"
_FORMS = (
    (_BYTES, f"bytes, such as MessagePack, CBOR or Protobuf? Expected text: {_DECODED}"),
    (re.compile(r"\A\s*<[?!A-Za-z]"), "XML? Expected JSON: write its values as an object"),
    (re.compile(rf"\A\s*{_PAIRS}\s*\Z"), 'pairs of key=value? Expected JSON, such as {"key": 1}'),
    (
        re.compile(r"^# (HELP|TYPE) |^[A-Za-z_:][\w:]*(\{[^{}]*\})? +[-+0-9.eE]+( [0-9]+)?$", re.M),
        "the text of Prometheus? Expected JSON, with each sample by its name",
    ),
    (
        re.compile(r"\A[^\s,{\[\"]+(,[^\s,=]+=[^\s,]+)* +[^\s,=]+=[^\s,]"),
        "the line protocol of InfluxDB? Expected JSON, as Telegraf writes it with "
        'data_format = "json"',
    ),
    (
        re.compile(r"[:,\[]\s*[-+]?[Ii]nf(inity)?\b"),
        "JSON has no infinity: expected null in its place",
    ),
    (re.compile(r"\A\s*[{\[]\s*'"), "single quotes? JSON has double ones"),
    (
        re.compile(r"\A(?=[^{\[]*[;,|\t])(?=[^{\[]*[0-9])[^{\[]*\Z"),
        'values between separators? payload.format = "delimited"',
    ),
    (re.compile(r"\A\s*[A-Za-z0-9+/_-]{16,}={0,2}\s*\Z"), f"Base64? Expected text: {_DECODED}"),
)
"""Forms of payloads that are not JSON, and what is said of each."""


def is_hexadecimal(text: str) -> bool:
    """Whether a text is a number in hexadecimal, or several, rather than one with a unit.

    >>> [is_hexadecimal(text) for text in ("FFF6", "00c8", "0x10", "100A", "1200", "1e5")]
    [True, True, True, False, False, False]
    """
    found = _HEX.fullmatch(text)
    if not found:
        return False
    return bool(found[1]) or (len(text) >= 4 and re.search("[A-Fa-f].", text) is not None)


def hint_for_json(text: str) -> str:
    """What a text may be that is not JSON; empty if it is nothing known."""
    text = text[:_LOOKED_AT]
    if is_hexadecimal(text.strip()):
        return f" (hexadecimal registers? Expected numbers in JSON: {_DECODED})"
    return next((f" ({said})" for form, said in _FORMS if form.search(text)), "")


def hint_for_delimited(text: str, separator: str, expected: int) -> str:
    """What a text may be that has not as many values as there are fields; empty if it is nothing
    known."""
    text = text[:_LOOKED_AT].strip()
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return f" ({len(lines)} readings? Send each line alone, or load the text as a file)"
    if text[:1] in ("{", "["):
        return ' (JSON? payload.format = "json")'
    if re.fullmatch(_PAIRS, text):
        return ' (pairs of key=value? Expected JSON, and payload.format = "json")'
    if _BYTES.search(text):
        return f" (bytes? Expected text: {_DECODED})"
    for other in (";", ",", "\t", "|", " "):
        if expected > 1 and other != separator and text.count(other) in (expected - 1, expected):
            return f" (payload.separator = {other!r}?)"
    return ""
