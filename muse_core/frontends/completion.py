# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion of the commands in bash and zsh: a script with all options, recipes, parameters and choices.

The script runs nothing of ours when a user presses the tab key. Files that are offered as sets of frames are those that
name a tag of the recipe.
"""

import argparse
import dataclasses
import shlex
from collections.abc import Iterable, Mapping, Sequence

from muse_core.frontends.esorex.options import Option, format_value, recipe_options
from muse_core.model.record import record
from muse_core.recipe.extras import EXTRAS

#: Where an option with a text takes a folder, and where it takes neither a file nor a folder.
_FOLDERS = ("-dir", "scratch", "resume", "search-path")
_TEXTS = ("filter", "region", "max-memory", "output-prefix", "ifus")


@record
class Entry:
    """An option of a command, or a parameter of a recipe.

    Attributes
    ----------
    names : tuple of str
        How it is written, with the hyphens.
    help : str
        What it is.
    values : tuple of str
        Its values, if they are few.
    kind : str
        "flag", "number", "text", "choice", "list" (values separated by commas), "file" or "folder".
    joined : bool
        The value follows an equals sign, and not a blank.
    n_values : int
        Number of values.
    """

    names: tuple[str, ...]
    help: str
    values: tuple[str, ...] = ()
    kind: str = "flag"
    joined: bool = True
    n_values: int = 1


@record
class Shape:
    """What a command takes.

    Attributes
    ----------
    entries : sequence of Entry
        Its options.
    tags : tuple of str
        Tags one of which is in the sets of frames that it takes; empty if it takes other files.
    recipes : mapping of str to Shape
        What follows the name of a recipe, with the summaries of the recipes in `about`.
    about : str
        Summary.
    """

    entries: Sequence[Entry]
    tags: tuple[str, ...] = ()
    recipes: "Mapping[str, Shape]" = dataclasses.field(default_factory=dict)
    about: str = ""


def _kind(name: str) -> str:
    if name.endswith(_FOLDERS):
        return "folder"
    return "text" if name in _TEXTS else "file"


def _of_option(option: Option, tokens: Sequence[str] = ()) -> Entry:
    """Return an option of the command muse-esorex, or a parameter."""
    values, kind = tuple(map(format_value, option.choices)), "choice"
    if option.kind is bool:
        values, kind = ("TRUE", "FALSE"), "flag"
    elif tokens:
        values, kind = tuple(tokens), "list"
    elif not values:
        kind = _kind(option.name) if option.kind is str else "number"
    return Entry((f"--{option.name}",), option.help, values, kind)


def _of_recipe(recipe) -> Shape:
    tokens = {spec.name: spec.tokens for spec in getattr(recipe, "PARAMETERS", ())}
    entries = []
    for option in recipe_options(recipe):
        if not option.hidden:
            entry = _of_option(option, tokens.get(option.name, ()))
            # a parameter never names a file
            entries.append(dataclasses.replace(entry, kind="text") if entry.kind in ("file", "folder") else entry)
    tags = tuple(spec.tag for spec in getattr(recipe, "INPUTS", ()) if spec.group == "RAW")
    return Shape(entries, tags, {}, recipe.synopsis)


def esorex_shape(options: Iterable[Option], recipes: Mapping[str, object]) -> Shape:
    """Return what the command muse-esorex takes."""
    entries = [_of_option(option, tuple(EXTRAS) if option.name == "extras" else ()) for option in options]
    return Shape(entries, (), {name: _of_recipe(recipe) for name, recipe in recipes.items()})


def shape_of_parser(parser: argparse.ArgumentParser, tags: tuple[str, ...] = ()) -> Shape:
    """Return what a command with a parser of the standard library takes."""
    entries = []
    for action in parser._actions:
        if action.option_strings:
            takes = action.nargs != 0
            values = tuple(map(str, action.choices or ()))
            is_path = action.type not in (int, float) and action.dest not in _TEXTS and action.nargs is None
            kind = "choice" if values else (_kind(action.dest) if is_path else "text") if takes else "flag"
            n = action.nargs if isinstance(action.nargs, int) else 1
            text = (action.help or "") % {"default": action.default, "prog": parser.prog}
            entries.append(Entry(tuple(action.option_strings), text, values, kind, joined=False, n_values=n))
    return Shape(entries, tags)


def shapes(options: Iterable[Option], recipes: Mapping[str, object]) -> dict[str, Shape]:
    """Return what each command of this package takes."""
    from muse_core.frontends import muse_quicklook, muse_report
    from muse_core.recipes.muse_scipost import MuseScipost
    from muse_core.simulate import cli

    return {
        "muse-esorex": esorex_shape(options, recipes),
        "muse-quicklook": shape_of_parser(muse_quicklook.make_parser(), (MuseScipost.raw_tag(),)),
        "muse-report": shape_of_parser(muse_report.make_parser()),
        "muse-simulate": shape_of_parser(cli.make_parser()),
    }


def script(shell: str, commands: Mapping[str, Shape]) -> str:
    """Return the script that a shell reads.

    Parameters
    ----------
    shell : str
        "bash" or "zsh".
    commands : mapping of str to Shape
        Commands, and what they take.
    """
    return {"bash": _bash, "zsh": _zsh}[shell](commands)


# bash: words are taken from the line up to the cursor, since bash itself breaks them at equals signs

_BASH_HEAD = r"""# bash completion of muse-scipost
_muse_sets() {  # files and folders that begin like the word; of files only sets of frames with one of the tags
    local file tags=$1
    compopt -o filenames 2>/dev/null
    while IFS= read -r file; do
        if [[ -d $file ]]; then
            COMPREPLY+=("$file")
        elif [[ -z $tags ]] || [[ $2 && $file == *.fits* ]]; then
            COMPREPLY+=("$file")
        elif [[ $file != *.fits* ]] && head -c 65536 -- "$file" 2>/dev/null |
                grep -aqE "[[:space:]]($tags)([[:space:]]|\$)"; then
            COMPREPLY+=("$file")
        fi
    done < <(compgen -f -- "$cur")
}
_muse_values() {  # KIND VALUES...: values that begin like the text behind the equals sign, or the word
    local kind=$1 text=$cur lead=
    shift
    [[ $joined ]] && text=${cur#*=}
    case $kind in
        file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$text") ;;
        folder) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$text") ;;
        list)
            [[ $text == *,* ]] && lead=${text%,*},
            compopt -o nospace 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -P "$lead" -W "$*" -- "${text##*,}") ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$*" -- "$text") ;;
    esac
    if [[ $joined && $COMP_WORDBREAKS != *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]/#/${cur%%=*}=}")
    fi
}
_muse_words() {  # WORDS...: words that begin like this one; no blank after an equals sign
    mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}
"""

_BASH_START = r"""    local cur prev recipe= joined= word line=${COMP_LINE:0:$COMP_POINT}
    local -a words
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    cur=${words[${#words[@]}-1]} prev=${words[${#words[@]}-2]}
    [[ $cur == --*=* ]] && joined=1
    COMPREPLY=()
"""


def _cases(shape: Shape, form: str) -> list[str]:
    """Return the cases of values of options, whose names have this form in a pattern."""
    patterns: dict[str, list[str]] = {}
    for entry in shape.entries:
        if entry.joined or entry.kind != "flag":
            action = shlex.join(("_muse_values", entry.kind, *entry.values))
            patterns.setdefault(action, []).extend(form.format(name) for name in entry.names)
    return [f"{'|'.join(names)}) {action}; return ;;" for action, names in patterns.items()]


def _bash_words(shape: Shape) -> str:
    words = []
    for entry in shape.entries:
        words += [f"{name}=" if entry.joined and entry.kind != "flag" else name for name in entry.names]
    return " ".join(words)


def _bash(commands: Mapping[str, Shape]) -> str:
    parts = [_BASH_HEAD]
    for command, shape in commands.items():
        name = "_" + command.replace("-", "_")
        lines = [f"{name}() {{", _BASH_START.rstrip("\n")]
        if shape.recipes:
            lines += _bash_recipes(shape)
        else:
            lines += _bash_plain(shape)
        lines += ["}", f"complete -F {name} {command}", ""]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _bash_recipes(shape: Shape) -> list[str]:
    lines = [
        '    for word in "${words[@]:1:${#words[@]}-2}"; do',
        "        [[ $word != -* ]] && recipe=$word && break",
        "    done",
        "    case $recipe in",
        '    "")',
        "        case $cur in",
        *(f"        {case}" for case in _cases(shape, "{}=*")),
        f"        -*) _muse_words {_bash_words(shape)}; return ;;",
        "        esac",
        # a product takes the place of the recipe
        '        [[ " ${words[*]} " == *" --redo "* ]] && { _muse_values file; return; }',
        f"        _muse_words {' '.join(shape.recipes)} ;;",
    ]
    for name, recipe in shape.recipes.items():
        lines += [
            f"    {name})",
            "        case $cur in",
            *(f"        {case}" for case in _cases(recipe, "{}=*")),
            f"        -*) _muse_words {_bash_words(recipe)} ;;",
            f"        *) _muse_sets {shlex.quote('|'.join(recipe.tags))} ;;",
            "        esac ;;",
        ]
    return [*lines, "    esac"]


def _bash_plain(shape: Shape) -> list[str]:
    return [
        "    case $prev in",
        *(f"    {case}" for case in _cases(shape, "{}")),
        "    esac",
        "    case $cur in",
        f"    -*) _muse_words {_bash_words(shape)} ;;",
        f"    *) _muse_sets {shlex.quote('|'.join(shape.tags))} fits ;;",
        "    esac",
    ]


# zsh: its own function `_arguments`, which shows what the options are for

_ZSH_HEAD = r"""#compdef {commands}
# zsh completion of muse-scipost
_muse_sets() {{  # TAGS: folders, and files that are sets of frames of them; with a second word FITS files
    local tags=$1 file also=$2
    local -a skipped
    for file in ${{(Q)PREFIX}}*(N.); do
        [[ -n $also && $file == *.fits* ]] && continue
        [[ $file != *.fits* ]] && head -c 65536 -- $file 2>/dev/null |
            grep -aqE "[[:space:]]($tags)([[:space:]]|\$)" && continue
        skipped+=(${{file:t}})
    done
    _files -F skipped
}}
"""


def _zsh_quoted(text: str) -> str:
    for sign in "\\[]:":
        text = text.replace(sign, "\\" + sign)
    return text


def _zsh_action(entry: Entry) -> str:
    values = " ".join(map(_zsh_quoted, entry.values))
    return {
        "flag": f"({values})",
        "choice": f"({values})",
        "list": f"_values -s , value {values}",
        "file": "_files",
        "folder": "_files -/",
    }.get(entry.kind, " ")


def _zsh_specs(shape: Shape) -> list[str]:
    specs = []
    for entry in shape.entries:
        about = _zsh_quoted(" ".join(entry.help.split()))
        for name in entry.names:
            if entry.joined:
                colons = "::" if entry.kind == "flag" else ":"
                spec = f"{name}=-[{about}]{colons}value:{_zsh_action(entry)}"
            elif entry.kind == "flag":
                spec = f"{name}[{about}]"
            else:
                spec = f"{name}[{about}]" + f":value:{_zsh_action(entry)}" * entry.n_values
            specs.append(shlex.quote(spec))
    return specs


def _zsh_files(shape: Shape) -> str:
    if not shape.tags:
        return "_files"
    return f"_muse_sets {shlex.quote('|'.join(shape.tags))}"


def _zsh(commands: Mapping[str, Shape]) -> str:
    parts = [_ZSH_HEAD.format(commands=" ".join(commands))]
    for command, shape in commands.items():
        name = "_" + command.replace("-", "_")
        specs = " \\\n        ".join(_zsh_specs(shape))
        if not shape.recipes:
            files = shlex.quote("*:file:{" + _zsh_files(shape) + (" fits" if shape.tags else "") + "}")
            parts.append(f"{name}() {{\n    _arguments -S \\\n        {specs} \\\n        {files}\n}}\n")
            continue
        lines = [
            f"{name}() {{",
            "    local curcontext=$curcontext state line ret=1",
            "    local -a recipes",
            "    recipes=(",
            *(f"        {shlex.quote(f'{n}:{r.about}')}" for n, r in shape.recipes.items()),
            "    )",
            "    _arguments -C -S \\",
            f"        {specs} \\",
            "        '1:recipe:->recipe' '*::argument:->argument' && ret=0",
            "    case $state in",
            "    recipe)",
            "        if (( ${words[(I)--redo]} )); then _files -g '*.fits*' && ret=0",
            "        else _describe -t recipes recipe recipes && ret=0; fi ;;",
            "    argument)",
            "        case $line[1] in",
        ]
        for recipe_name, recipe in shape.recipes.items():
            own = " \\\n            ".join(_zsh_specs(recipe))
            files = shlex.quote("*:set of frames:{" + _zsh_files(recipe) + "}")
            lines += [
                f"        {recipe_name}) _arguments -S \\",
                f"            {own} \\",
                f"            {files} && ret=0 ;;",
            ]
        parts.append("\n".join([*lines, "        esac ;;", "    esac", "    return ret", "}", ""]))
    parts.append(
        "# read as a file of $fpath it is the function itself, by `source` it makes itself known\n"
        'if [[ -n $service ]]; then\n    "_${service//-/_}" "$@"\nelse\n'
        + "".join(f"    compdef _{command.replace('-', '_')} {command}\n" for command in commands)
        + "fi\n"
    )
    return "\n".join(parts)
