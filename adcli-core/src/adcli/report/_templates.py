"""Filling the templates of pages."""

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def fill_template(name: str, **values: Any) -> str:
    """Return a page of this package, with values in it, of which texts are escaped; a missing one is an error."""
    return _environment().get_template(name).render(values)


@functools.cache
def _environment() -> "Environment":
    """Make what keeps compiled templates: one process may write many pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("adcli.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
