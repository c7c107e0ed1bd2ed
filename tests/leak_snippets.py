"Planted leaks in disguises, each with a clean twin, as files that the audit can read."

import json
import re
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parent / "leaks"


@dataclass
class Snippet:
    "One piece of code, leaky or clean"

    kind: str  # of the leak
    style: str  # of the disguise
    leaky: bool
    source: str
    study: str | None = None
    also: tuple = ()  # kinds that count as well

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.style} ({'leaky' if self.leaky else 'clean'})"

    def write(self, folder: Path) -> Path:
        "A notebook where the code has several cells, else a module"
        cells = re.split(r"(?m)^# %%.*\n", self.source)
        stem = re.sub(r"\W+", "_", self.name)
        if len(cells) == 1 and "open_stage" not in self.source:
            path = folder / f"{stem}.py"
            path.write_text(self.source)
            return path
        path = folder / f"{stem}.ipynb"
        code = [
            {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": c}
            for c in cells
        ]
        path.write_text(json.dumps({"cells": code, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        return path


def snippets(file: str) -> list[Snippet]:
    "All of one file: leaky and clean in turn"
    found = []
    for block in re.split(r"(?m)^=== ", (HOME / file).read_text(encoding="utf-8"))[1:]:
        title, _, rest = block.partition("\n")
        kind, _, style = title.partition(": ")
        for part in re.split(r"(?m)^--- ", rest)[1:]:
            head, _, source = part.partition("\n")
            which, *more = head.split()
            study = next((m.partition("=")[2] for m in more if m.startswith("study=")), None)
            also = tuple(m for m in more if "=" not in m)
            found.append(Snippet(kind, style, which == "leaky", source, study, also))
    return found
