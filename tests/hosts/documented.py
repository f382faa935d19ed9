# Copyright 2026 The SimFLE package authors. Licensed under the Apache License, Version 2.0.
"""Commands and scripts as the pages in docs/ have them."""

import re
import shlex

from tests.new_process import ROOT


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)


def console_command(page: str, part: str) -> list[str]:
    """The words of the one console block that contains `part`."""
    (block,) = (block for block in blocks(page, "console") if part in block)
    return shlex.split(block.replace("\\\n", " "))


def bash_script(page: str, part: str) -> str:
    """The one script that contains `part`."""
    (block,) = (block for block in blocks(page, "bash") if part in block)
    return block
