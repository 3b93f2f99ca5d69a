"""Names that are no text, or that an encoding lacks: written with backslashes, and read back exactly.

A byte of a file name that is no UTF-8 is a surrogate in Python, which no UTF-8 text can hold.
"""

import re

_SPELLED = re.compile(r"\\(?:u[0-9a-f]{4}|U00(?:0[0-9a-f]|10)[0-9a-f]{4})")
_BACKSLASH = r"\u005c"


def spell(text: str, encoding: str = "utf-8") -> str:
    r"""Return a text that an encoding has: characters that it lacks are ``\uXXXX`` or ``\UXXXXXXXX``.

    A backslash is itself, unless what follows it would make it one of these. :func:`unspell` undoes it.
    """
    text = _SPELLED.sub(lambda found: _BACKSLASH + found[0][1:], text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(letter if _has(encoding, letter) else _spell_letter(letter) for letter in text)
    return text


def unspell(text: str) -> str:
    """Return the text that :func:`spell` was given."""
    return _SPELLED.sub(lambda found: chr(int(found[0][2:], 16)), text)


def _has(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _spell_letter(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"
