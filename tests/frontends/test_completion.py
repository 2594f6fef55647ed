# SPDX-License-Identifier: GPL-2.0-or-later
"""Completion as it works in a real bash and a real zsh, on a terminal: all that is offered is put into the line."""

import os
import pty
import re
import select
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.run import measured

from muse_core.frontends import completion
from muse_core.frontends.esorex import main
from muse_core.frontends.esorex.options import caller_options
from muse_core.frontends.registry import find_recipes

#: Keys: Ctrl-O puts all that fits into the line, Ctrl-G writes the line into a file.
_ALL, _DUMP = "\x0f", "\x07"
_BASH = r"""
PS1='ready> '
bind '"\C-o": insert-completions'
bind -x '"\C-g": printf "%s" "$READLINE_LINE" > "$HOME/part"; mv "$HOME/part" "$HOME/line"'
source "$HOME/script"
"""
_ZSH = r"""
PS1='ready> '
autoload -Uz compinit && compinit -u -D
zle -C all-matches complete-word _generic
bindkey '^O' all-matches
zstyle ':completion:all-matches:*' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert true
dump() { print -rn -- "$BUFFER" > "$HOME/part"; mv "$HOME/part" "$HOME/line" }
zle -N dump
bindkey '^G' dump
unsetopt zle_bracketed_paste
source "$HOME/script"
"""
_START = {"bash": (".bashrc", _BASH, ["bash", "-i"]), "zsh": (".zshrc", _ZSH, ["zsh", "-d", "-i"])}


class Shell:
    """An interactive shell in a folder, with the completion of our commands that is in its home."""

    def __init__(self, name: str, home: Path, folder: Path):
        file, content, command = _START[name]
        (home / file).write_text(content)
        self._line = home / "line"
        self._seen = b""
        self._pid, self._terminal = pty.fork()
        if not self._pid:
            os.chdir(folder)
            environment = measured() | {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb"}
            os.execvpe(command[0], command, environment)
        self._wait(lambda: b"ready>" in self._seen)

    def _wait(self, is_done: Callable[[], bool]) -> None:
        end = time.monotonic() + 300
        while not is_done():
            assert time.monotonic() < end, self._seen
            if select.select([self._terminal], [], [], 0.05)[0]:
                self._seen += os.read(self._terminal, 65536)

    def completed(self, line: str) -> str:
        """Type a line, have all put into it that fits, and return it."""
        self._line.unlink(missing_ok=True)
        os.write(self._terminal, f"\x15{line}{_ALL}{_DUMP}".encode())
        self._wait(self._line.exists)
        return self._line.read_text()

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


@pytest.fixture(scope="module", params=["bash", "zsh"])
def shell(request, tmp_path_factory):
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("data")
    commands = completion.shapes(caller_options(""), find_recipes())
    (home / "script").write_text(completion.script(name, commands))
    (folder / "some.sof").write_text("a.fits PIXTABLE_OBJECT\nb.fits STD_RESPONSE\n")
    (folder / "reduced.sof").write_text("a.fits PIXTABLE_REDUCED\n")
    (folder / "PIXTABLE_OBJECT_0001.fits").write_text("a PIXTABLE_OBJECT \n")
    (folder / "some_folder").mkdir()
    opened = Shell(name, home, folder)
    yield opened
    opened.close()


def words(line: str, typed: str) -> set[str]:
    """Return what a shell put in the place of the last word that was typed: values, or names, bare."""
    begun = typed[: typed.rfind(" ") + 1]
    assert line.startswith(begun)
    return {re.sub(r"^--[\w-]+=(?=.)", "", word).rstrip("=,/") for word in line.removeprefix(begun).split()}


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("muse-esorex muse_exp_", "muse_exp_align muse_exp_combine"),
        ("muse-esorex --output-", "--output-dir --output-prefix --output-readonly"),
        ("muse-esorex --log-level=", "debug error info off warning"),
        ("muse-esorex --output-dir=s", "some_folder"),
        ("muse-esorex --extras=n", "noise"),
        ("muse-esorex --redo PIX", "PIXTABLE_OBJECT_0001.fits"),
        ("muse-esorex muse_scipost --resample=l", "lanczos linear"),
        ("muse-esorex muse_scipost --res", "--resample"),
        ("muse-esorex muse_scipost --save=cube,sk", "cube,skymodel"),
        ("muse-esorex muse_scipost --dx=0.3 --skymethod=s", "simple subtract-model"),
        ("muse-esorex muse_scipost ", "some.sof some_folder"),
        ("muse-esorex --log-level=off muse_exp_combine ", "reduced.sof some_folder"),
        ("muse-quicklook ", "PIXTABLE_OBJECT_0001.fits some.sof some_folder"),
        ("muse-quicklook --no", "--no-sky"),
        ("muse-simulate --mode ", "NFM-AO-N WFM-AO-E WFM-AO-N WFM-NOAO-E WFM-NOAO-N"),
        ("muse-report --comp", "--compare"),
        # of these only the user knows the values
        ("muse-esorex --max-memory=", "--max-memory"),
        ("muse-esorex muse_scipost --dx=", "--dx"),
        ("muse-quicklook --filter ", ""),
    ],
)
def test_offered(shell, typed, offered):
    assert words(shell.completed(typed), typed) == set(offered.split())


def test_option(capsys):
    assert main.main(["--completion=bash"]) == 0
    assert capsys.readouterr().out.startswith("# bash completion")
    assert main.main(["--completion=fish"]) == 255
    assert "bash, zsh" in capsys.readouterr().err
    assert main.main(["--completion=bash", "--recipes"]) == 255


def test_nothing_is_left_out():
    """Each option and parameter that help texts show is in the script, each choice, and each recipe."""
    recipes = find_recipes()
    for shell in ("bash", "zsh"):
        text = completion.script(shell, completion.shapes(caller_options(""), recipes))
        for recipe in recipes.values():
            assert recipe.name in text
            for spec in recipe.PARAMETERS:
                assert spec.hidden or f"--{spec.name}" in text
                assert all(choice in text for choice in spec.choices)
        for option in caller_options(""):
            assert f"--{option.name}" in text
