"""Whatever the canonicaliser accepts, no other common way to read a path reads as another path."""

import posixpath
import re
import unicodedata
from urllib.parse import quote, unquote, urlparse, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import extauthz.model.paths
from extauthz.model.paths import Path, canonicalise

PIECES = [
    *"/.;%\\!#?+ ~*:@&=,'()$",
    *["..", "//", "%2e", "%2E", "%2f", "%5c", "%25", "%2525", "%00", "%20", "%3b", "%3f", "%23", "%c0%af", "%09"],
    *["%e2%80%8b", "%ef%b8%8f", "%cc%81", "%c3%a9", "%e2%88%95", "%ef%bc%8f", "%ef%bc%8e", "%c4%b0", "%c2%ad"],
    *["admin", "a", "A", "x", "1", "%41", "%u002f", "%252e", "\u00e9", "\uff0f", "\t", "\r\n", "\x00", "\x80"],
]
SEGMENT_CHARACTERS = st.one_of(
    st.sampled_from("-._~$&'()*+,=:@ !aZ09%"),
    st.characters(categories=["Lu", "Ll", "Lo", "Mn", "Nd", "Cf", "Po", "Zs"]),
)
paths = st.one_of(
    st.lists(st.text(SEGMENT_CHARACTERS, min_size=1, max_size=8), max_size=4).map(
        lambda parts: "/" + quote("/".join(parts))
    ),
    st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: "/" + "".join(pieces)),
    st.text(max_size=40).map(lambda text: "/" + text),
    st.text(max_size=20).map(lambda text: "/" + quote(text, errors="replace")),
    st.binary(max_size=20).map(lambda raw: "/" + quote(raw)),
)


def _whatwg(text: str) -> str:
    """URL Standard: tabs and line ends vanish, spaces at the ends too, backslash is slash."""
    return re.sub(r"[\t\r\n]", "", text).strip("\x00\x20").replace("\\", "/")


def _windows(text: str) -> str:
    """IIS and NTFS: segments lose their trailing dots and spaces."""
    return "/".join(segment.rstrip(". ") for segment in text.split("/"))


def _without_format_characters(text: str) -> str:
    return "".join(
        char for char in text if unicodedata.category(char) not in {"Cf", "Cc", "Zs", "Zl", "Zp"} or char == " "
    )


READINGS = {
    "decoded once more": unquote,
    "decoded twice more": lambda text: unquote(unquote(text)),
    "IIS %u escapes": lambda text: re.sub(r"%u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), text),
    "dot segments removed": posixpath.normpath,
    "slashes merged": lambda text: re.sub("/+", "/", text),
    "split as a URL": lambda text: urlsplit(text).path,
    "split as a URL with parameters": lambda text: urlparse(text).path,
    "split as a URL behind an origin": lambda text: urlsplit("https://host" + text).path,
    "cut at parameters": lambda text: "/".join(segment.partition(";")[0] for segment in text.split("/")),
    "cut at the fragment": lambda text: text.partition("#")[0],
    "cut at NUL": lambda text: text.partition("\x00")[0],
    "URL Standard": _whatwg,
    "Windows": _windows,
    "trimmed": str.strip,
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFKC": lambda text: unicodedata.normalize("NFKC", text),
    "format characters dropped": _without_format_characters,
    "UTF-8 round trip": lambda text: text.encode().decode("utf-8", "ignore"),
}


@given(paths)
@example("/a%2fb")
@example("/%2561")
@example("/a/..;/b")
@settings(max_examples=600)
def test_no_other_common_reading_of_an_accepted_path_differs(raw):
    """Case folding, `+` as space and NFD are left out: the first two are names of their own, the last is one-to-one."""
    path = canonicalise(raw)
    if not isinstance(path, Path):
        return

    for name, read in READINGS.items():
        assert path.text == read(path.text), name


@given(paths)
@settings(max_examples=600)
def test_the_raw_path_reads_as_the_canonical_one_by_common_rules(raw):
    """Readers that decode first and split later agree with those that split first and decode later."""
    path = canonicalise(raw)
    if not isinstance(path, Path):
        return
    sent = raw.partition("?")[0]

    decoded_first = [segment for segment in unquote(sent, errors="strict").split("/") if segment]
    split_first = [unquote(segment, errors="strict") for segment in sent.split("/") if segment]
    assert list(path.segments) == decoded_first == split_first
    assert path.text == posixpath.normpath(unquote(sent))
    assert sent == urlsplit(sent).path


@given(paths)
@settings(max_examples=300)
def test_an_accepted_path_without_reserved_text_is_a_fixed_point(raw):
    path = canonicalise(raw)
    if not isinstance(path, Path):
        return

    again = canonicalise(quote(path.text, safe="/"))
    assert path.text == again.text


@given(st.text(st.characters(), max_size=60), st.booleans())
@settings(max_examples=600)
def test_any_text_is_either_read_or_refused(raw, verbatim):
    canonicalise(raw, verbatim=verbatim)


def test_t11_no_default_ignorable_character_is_ever_accepted():
    """Unicode's Default_Ignorable_Code_Point: what some comparers drop, whatever its category."""
    ignorable = [
        *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
        *range(0x180B, 0x1810),
        *range(0x200B, 0x2010),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
        *range(0xFFF0, 0xFFF9),
        *range(0x1BCA0, 0x1BCA4),
        *range(0x1D173, 0x1D17B),
        *range(0xE0000, 0xE1000),
    ]

    accepted = [code for code in ignorable if isinstance(canonicalise("/a" + quote(chr(code)) + "b"), Path)]
    assert [] == accepted


def test_t11_no_character_outside_of_ascii_normalises_into_ascii():
    """Full-width letters, long s, Kelvin: compatibility forms of what a rule may name."""
    for code in [*range(0x80, 0xD800), *range(0xE000, 0x30000)]:
        char = chr(code)
        if unicodedata.normalize("NFKC", char).isascii() or unicodedata.normalize("NFKD", char).isascii():
            assert not isinstance(canonicalise("/" + quote(char)), Path), hex(code)


@given(paths, st.sampled_from(["", "?", "?a=b", "?a=b%20c&d", "?<"]), st.booleans())
def test_the_short_way_for_usual_paths_gives_what_the_long_way_gives(path, query, verbatim):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extauthz.model.paths, "_USUAL", re.compile(r"(?!)"))
        expected = canonicalise(path + query, verbatim=verbatim)
    assert expected == canonicalise(path + query, verbatim=verbatim)
