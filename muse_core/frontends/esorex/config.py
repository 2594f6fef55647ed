# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration files: ``full.name=value`` lines are read and written, JSON is written."""

import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from muse_core.frontends.esorex import report
from muse_core.frontends.esorex.layout import described, wrap
from muse_core.frontends.esorex.options import Option, ValueProblem, format_value
from muse_core.frontends.trust import distrust
from muse_core.model.declare import did_you_mean

UNKNOWN_NAME, BAD_VALUE, BAD_QUOTES, BAD_LINE = 250, 251, 253, 254


class ConfigError(Exception):
    """A configuration file cannot be used; the messages have been given.

    Attributes
    ----------
    status : int
        Exit status that the reference gives for it.
    """

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


def user_directory() -> Path | None:
    """Return the folder of the user's configuration files; None without a home, as in containers.

    The reference takes the current folder then, and so what anybody has put there.
    """
    home = os.environ.get("HOME", "")
    return Path(home, ".esorex") if os.path.isabs(home) else None


def user_file(name: str) -> Path | None:
    """Return the user's configuration file of a name, if there is one that nobody else can change."""
    folder = user_directory()
    if folder is None or not os.path.exists(folder / name):
        return None
    if reason := distrust(folder / name):
        report.warning(f"Configuration file '{folder / name}' is not read: {reason}")
        return None
    return folder / name


def read(path: str | os.PathLike, options: Sequence[Option]) -> None:
    """Set options to what a configuration file says; those before a mistake in it are set as well.

    Raises
    ------
    ConfigError
        Unknown name, value that is none, line without ``name=value``.
    OSError
        If it cannot be read.
    """
    known = {option.full_name: option for option in options}
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read().split("\n")
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not value:
            report.error(f"'{text}' does not fit 'key=value' format in configuration file '{path}'")
            _stop(path, BAD_LINE)
        if value.startswith('"') or value.endswith('"'):
            if len(value) < 2 or not (value.startswith('"') and value.endswith('"')):
                where = f"parameter '{name}' in configuration file '{path}'"
                report.error(f"Quoting mismatch within value '{value}' for {where}")
                _stop(path, BAD_QUOTES)
            value = value[1:-1]
        if name not in known:
            context, _, short = name.rpartition(".")
            hint = did_you_mean(
                short, [k.rpartition(".")[2] for k in known if k.startswith(context)], f"'{context}.{{}}'"
            )
            report.error(f"Parameter '{name}' not recognised in configuration file '{path}'{hint}")
            _stop(path, UNKNOWN_NAME)
        try:
            ignored = known[name].set_text(value)
        except ValueProblem as problem:
            report.error(
                f"Error parsing/interpreting entry '{name}' in configuration file '{path}': found '{value}', "
                f"expected {problem}"
            )
            raise ConfigError(BAD_VALUE) from None
        if ignored:
            effective = format_value(known[name].value)
            report.warning(f"'{name}={value}' in configuration file '{path}' is read as {effective}")


def _stop(path: str | os.PathLike, status: int) -> None:
    report.error(f"Unable to continue parsing configuration file '{path}'")
    raise ConfigError(status)


def write(path: Path, options: Sequence[Option], program: str, recipe: str = "") -> None:
    """Write a configuration file with the current values, in JSON if its name ends so.

    An existing file is kept with ``.bak`` added to its name. What fails is reported, as the reference does, without an
    error for the caller.
    """
    path = Path(path)
    try:
        if os.path.exists(path):
            backup = f"{path}.bak"
            shutil.copyfile(path, backup)
            report.info(f"Old configuration file copied to '{backup}'")
        report.info(f"Creating configuration file '{path}'")
        if path.suffix == ".json":
            report.info("Writing configuration file in JSON format")
            text = json_text([_json_entry(option, recipe) for option in options if option.in_config])
        else:
            path.touch()  # a folder that does not exist is reported before missing values
            text = _rc_text(path, [option for option in options if option.in_config], program)
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
    except OSError:
        report.error(f"Unable to create configuration file '{path}'")


def _rc_text(path: Path, options: Sequence[Option], program: str) -> str:
    date = time.strftime("%d-%b-%Y %H:%M:%S")
    text = (
        f"# File: {path}\n#\n# Note: This configuration file has been automatically\n"
        f"#       generated by the {program} program.\n#\n# Date: {date}\n#\n#\n\n"
    )
    for option in options:
        value = format_value(option.value)
        if not value:
            report.warning(
                f"No sensible default available for '--{option.name}'. The entry will be inserted into the "
                "configuration file, but will be commented out."
            )
        lines = "".join(f"# {line}\n" for line in wrap(described(option), 78, 75))
        text += f"# --{option.name}\n{lines}{'' if value else '#'}{option.full_name}={value}\n\n"
    return text + "#\n# End of file\n"


_TYPES = {bool: "bool", int: "int", float: "double", str: "string"}


def _json_entry(option: Option, recipe: str) -> dict:
    entry = {
        "name": option.full_name,
        "value": option.value,
        "valtype": _TYPES[option.kind],
        "partype": "enum" if option.choices else "range" if option.limits else "value",
    }
    if option.choices:
        entry["valenum"] = list(option.choices)
    elif option.limits:
        entry["valmin"], entry["valmax"] = option.limits
    entry |= {"display_name": option.name, "description": option.help}
    if recipe:
        entry["recipe"] = recipe
    return entry


def json_text(entries: Sequence[dict]) -> str:
    """Return a list of flat objects as JSON, in the layout of the reference."""
    objects = []
    for entry in entries:
        members = ",\n".join(f"    {_json_value(key)}: {_json_value(value)}" for key, value in entry.items())
        objects.append(f"  {{\n{members}\n  }}")
    return "\n".join(["[", *filter(None, [",\n".join(objects)]), "]", ""])


def _json_value(value) -> str:
    if isinstance(value, list):
        return f"[ {' , '.join(_json_value(item) for item in value)} ]"
    if isinstance(value, float):
        return f"{value:.17g}"
    return json.dumps(value, ensure_ascii=False).replace("/", "\\/")
