# SPDX-License-Identifier: GPL-2.0-or-later
"""Help texts, manual page and lists, in the layout of esorex."""

from collections.abc import Iterable, Mapping, Sequence

from muse_core.frontends.esorex.options import VARIABLES, Option, format_value

_COLUMNS = 80
_NAME_WIDTH = 22


def wrap(text: str, first: int, others: int) -> list[str]:
    """Break a text at blanks into lines of at most `first` characters for the first, `others` for each other."""
    lines, line = [], ""
    for number, word in enumerate(text.split(" ")):
        longer = f"{line} {word}" if number else word
        if line and len(longer) > (others if lines else first):
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def _hanging(start: str, text: str, indent: int) -> str:
    """Return `start` and a wrapped text whose other lines are indented."""
    return start + ("\n" + " " * indent).join(wrap(text, _COLUMNS - len(start), _COLUMNS - 1 - indent))


def _entry(name: str, width: int, text: str) -> str:
    """Return a wrapped text behind a name, which is padded or, if it is longer, followed by two blanks."""
    start = f"  {name:<{width}}: " if len(name) <= width else f"  {name}  : "
    return _hanging(start, text, len(start))


def described(option: Option) -> str:
    """Return the help text of an option with its choices."""
    text = option.help_with_environment
    text += "" if text.endswith(".") else "."
    if option.choices:
        text += f" <{' | '.join(format_value(choice) for choice in option.choices)}>"
    return text


def help_line(option: Option) -> str:
    """Return the paragraph on one option."""
    return _entry("--" + option.name, _NAME_WIDTH, f"{described(option)} [{format_value(option.value)}]")


def _help_lines(options: Iterable[Option], show_hidden: bool) -> str:
    return "\n".join(help_line(option) for option in options if show_hidden or not option.hidden)


def command_help(program: str, options: Sequence[Option]) -> str:
    """Return the help text of the command."""
    return (
        f"Usage: {program} [{program}-options] recipe [recipe-options] sof\n\nOptions:\n\n"
        f"{_help_lines(options, True)}\n\nEnvironment variables of recipes without an option:\n\n"
        + "".join(_entry(name, max(map(len, VARIABLES)), text) + "\n" for name, text in VARIABLES.items())
    )


def recipe_help(program: str, recipe, options: Sequence[Option], show_hidden: bool) -> str:
    """Return the help text of a recipe."""
    name = recipe.name
    return (
        f"{_hanging(f'Recipe: {name} -- ', recipe.synopsis, 2)}\n\n"
        f"Usage: {program} [{program}-options] {name} [{name}-options] sof\n\n"
        f"Options:\n\n{_help_lines(options, show_hidden)}\n\n"
        f"For help on the options of {program} itself, please use the command '{program} --help'\n"
        "(that is, without specifying any recipe name). For more information about the\n"
        f"recipe, one can also use the command '{program} --man-page {name}'.\n"
    )


def _section(title: str, text: str) -> str:
    return f"{title}\n" + "\n".join("  " + line for line in text.split("\n")) + "\n"


def man_page(program: str, recipe, options: Sequence[Option], show_hidden: bool) -> str:
    """Return the manual page of a recipe."""
    name = recipe.name
    note = (
        "\n\n"
        "  Note that it is also possible to create a configuration file containing\n"
        "  these options, along with suitable default values. Please refer to the\n"
        f"  details provided by the '{program} --help' command.\n"
    )
    options_section = (
        "OPTIONS\n  The following options are provided by this recipe.\n\n" + _help_lines(options, show_hidden) + note
    )
    return "\n" + "\n".join(
        (
            f"NAME\n{_hanging(f'  {name} -- ', recipe.synopsis, len(name) + 6)}\n",
            _section("SYNOPSIS", f"{program} [{program}-options] {name} [{name}-options] sof"),
            _section("DESCRIPTION", recipe.description),
            options_section,
            _section("AUTHOR", recipe.author),
            f"BUGS\n{_hanging('  ', f'Please report any problems with this recipe to {recipe.email}', 2)}\n",
            _section("RELEASE", f"{name} -- version {recipe.version}"),
            _section("LICENSE", recipe.copyright),
        )
    )


def parameter_list(title: str, options: Iterable[Option]) -> str:
    """Return the list of options with their current values."""
    lines = "".join(f"  {option.name:<{_NAME_WIDTH}}: {format_value(option.value)}\n" for option in options)
    return f"{title} Parameters :\n\n{lines}"


def recipe_list(recipes: Mapping[str, object]) -> str:
    """Return the list of recipes."""
    lines = "".join(_entry(name, _NAME_WIDTH, recipe.synopsis) + "\n" for name, recipe in recipes.items())
    return f"List of Available Recipes :\n\n{lines}"
