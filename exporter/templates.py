"""Text and pages from jinja templates: one environment for both."""

from typing import Any, Protocol

import jinja2


class Messages(Protocol):
    """Sentences in one language, as gettext finds them: `%(name)s` stands for a value."""

    def message(self, message: str) -> str: ...


def environment(
    *rooms: str, escape: bool, trim: bool = True, messages: Messages | None = None, **values: Any
) -> jinja2.Environment:
    """Return the environment of the templates in these packages' `templates/`, the first that has
    one wins. Names that are not given are refused; `values` are known to every template.

    `escape`: whether texts are escaped for HTML. `messages`: what `_("...")` says there. `trim`:
    whether lines that hold only a tag vanish.
    """
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(room) for room in rooms]),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=trim,
        lstrip_blocks=trim,
    )
    if messages is not None:
        made.add_extension("jinja2.ext.i18n")
        made.install_gettext_callables(  # type: ignore[attr-defined]
            messages.message, lambda one, many, count: one if count == 1 else many, newstyle=True
        )
    made.globals.update(values)
    return made
