"""Filling the templates of pages."""

from typing import Any


def fill_template(name: str, **values: Any) -> str:
    """Return a page of this package, with values in it, of which texts are escaped; a missing one is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("adcli.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(values)
