"""Training images that a run began with, and how those that it goes on with differ from them."""

from collections.abc import Mapping, Sequence

from adcli.errors import one_line
from adcli.runs.images import SeenImage


def describe_difference(before: Sequence[SeenImage], now: Sequence[SeenImage]) -> str:
    """Return what became of images, with an example of each kind; nothing if names and contents are equal."""
    old, new = ({image.name: image.digest for image in images} for images in (before, now))
    gone = {name: digest for name, digest in old.items() if name not in new}
    added = {digest: name for name, digest in new.items() if name not in old}
    renamed = {name: added.pop(digest) for name, digest in gone.items() if digest in added}
    changed = [name for name in old if name in new and old[name] != new[name]]
    missing = [name for name in gone if name not in renamed]
    said = (
        _count(missing, "is missing", "are missing"),
        _count(list(added.values()), "is new", "are new"),
        _count(changed, "has another content", "have another content"),
        _count_renamed(renamed),
    )
    return "; ".join(filter(None, said))


def _count(names: Sequence[str], one: str, several: str) -> str:
    if not names:
        return ""
    example = one_line(names[0])
    return f"{example} {one}" if len(names) == 1 else f"{len(names)} {several}, such as {example}"


def _count_renamed(renamed: Mapping[str, str]) -> str:
    if not renamed:
        return ""
    example = "{} is now {}".format(*map(one_line, next(iter(renamed.items()))))
    return example if len(renamed) == 1 else f"{len(renamed)} have other names, such as {example}"
