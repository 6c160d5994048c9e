"""Text and pages from jinja templates: one environment for both."""

from typing import Any

import jinja2


def environment(*rooms: str, escape: bool, trim: bool = True, **values: Any) -> jinja2.Environment:
    """Return the environment of the templates in these packages' `templates/`, the first that has
    one wins. Names that are not given are refused; `values` are known to every template.

    `escape`: whether texts are escaped for HTML. `trim`: whether lines that hold only a tag vanish.
    """
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(room) for room in rooms]),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=trim,
        lstrip_blocks=trim,
    )
    made.globals.update(values)
    return made
