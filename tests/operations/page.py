"""Following a page of the documentation as its reader does: its shell blocks, in order, in one shell."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_RUNNABLE = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCK_SECONDS = 300.0


def shell_blocks(text: str, replacements: Mapping[str, str]) -> list[str]:
    """The shell blocks of a page, with the reader's own values in place of the page's.

    Raises:
        AssertionError: no block has what is to be replaced.
    """
    return _replaced(_SHELL_BLOCK.findall(text), replacements)


def runnable_blocks(text: str, replacements: Mapping[str, str]) -> list[str]:
    """The shell and Python blocks of a page as shell blocks, with the reader's own values.

    Raises:
        AssertionError: no block has what is to be replaced.
    """
    return _replaced([_in_shell(*block) for block in _RUNNABLE.findall(text)], replacements)


def _in_shell(language: str, block: str) -> str:
    return f"python - <<'END_OF_BLOCK'\n{block}END_OF_BLOCK\n" if language == "python" else block


def _replaced(blocks: list[str], replacements: Mapping[str, str]) -> list[str]:
    for old, new in replacements.items():
        assert any(old in block for block in blocks), f"the page does not have {old!r} any more"
        blocks = [block.replace(old, new) for block in blocks]
    return blocks


@dataclass(frozen=True)
class Terminal:
    """An interactive shell: each block goes on with the variables that the one before has left, and what was
    started in the background stays.

    Attributes:
        folder: where it begins; not changed by the blocks.
        home: the person's home, by which all processes of the terminal can be told from others.
        environment: what it begins with, besides the home.
    """

    folder: Path
    home: Path
    environment: Mapping[str, str]

    def run(self, block: str) -> str:
        """Run a block to its end and give what it printed.

        Raises:
            AssertionError: one of its commands failed, or it did not end in `BLOCK_SECONDS`.
        """
        state, printed = self.home / ".state", self.home / ".printed"
        # Job control, as in a person's shell: without it background jobs ignore Ctrl-C.
        script = f"""
            set -m; [ ! -e {state} ] || . {state}
            set -eu -o pipefail; trap 'export -p > {state}' EXIT
            {block}"""
        with printed.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env={**self.environment, "HOME": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = process.wait(BLOCK_SECONDS)
            except subprocess.TimeoutExpired:
                code = None
        text = printed.read_text(errors="replace")
        assert code == 0, f"{'still running' if code is None else f'exit {code}'}:\n{block}\n{text}"
        return text

    def processes(self, variable: str = "", words: str = "") -> list[int]:
        """The processes that were started here and live, with a variable and words on the command line."""
        return [
            int(each.name)
            for each in Path("/proc").iterdir()
            if each.name.isdecimal() and self._is_ours(each, variable, words)
        ]

    def _is_ours(self, process: Path, variable: str, words: str) -> bool:
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:  # it has ended, or is somebody else's
            return False
        wanted = {f"HOME={self.home}".encode(), *filter(None, [variable.encode()])}
        return wanted <= set(variables) and words.encode() in command

    def signal(self, number: signal.Signals, *, variable: str = "", words: str = "") -> int:
        """Send a signal to such processes; tells to how many."""
        found = self.processes(variable, words)
        for pid in found:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        return len(found)
