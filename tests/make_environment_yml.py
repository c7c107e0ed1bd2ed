"Write environment.yml from pyproject.toml and the lock file: the direct dependencies, each as locked."

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def locked_versions() -> dict[str, str]:
    "Package name (normalised) to locked version, for the Python that the lock file starts from"
    found: dict[str, str] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if m := re.match(r"([A-Za-z0-9_.-]+)==([^ ;\\]+)", line):
            found.setdefault(m[1].lower().replace("_", "-"), m[2])
    return found


def direct_dependencies() -> list[str]:
    "The names in pyproject.toml, the development extra included"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = project["dependencies"] + project["optional-dependencies"]["dev"]
    return sorted({re.split(r"[\[<>=!~; ]", e)[0].lower() for e in entries})


def environment_yml() -> str:
    "The file's whole text"
    locked = locked_versions()
    pins = "".join(f"      - {name}=={locked[name]}\n" for name in direct_dependencies())
    return (
        "# The environment of `make report` for conda users: conda env create -f environment.yml\n"
        "# Written by: python tests/make_environment_yml.py\n"
        "name: nbs\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n"
        f"{pins}      - --editable .\n"
    )


if __name__ == "__main__":
    (ROOT / "environment.yml").write_text(environment_yml())
