"""Whether a tag may be released: it is the version of the package, and the changelog has a section for it.

    python scripts/check_release.py v0.1.0

Prints the section, which becomes the text of the release.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.compile(r'^VERSION = "(.+)"$', re.M)


def main() -> int:
    (tag,) = sys.argv[1:]
    version = VERSION.findall((ROOT / "src/boresight/core/version.py").read_text(encoding="utf-8"))[0]
    notes, fault = release_notes(tag, version, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    print(fault or notes, file=sys.stderr if fault else sys.stdout)
    return int(bool(fault))


def release_notes(tag: str, version: str, changelog: str) -> tuple[str, str]:
    """The changelog's section of a version, or the reason why it cannot be released."""
    if tag != f"v{version}":
        return "", f"{tag}: the package's version is {version}; tag v{version}, or change core/version.py."
    heading = re.compile(rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)\n(.*?)(?=^## |\Z)", re.M | re.S)
    found = heading.search(changelog)
    if found is None:
        return "", f"CHANGELOG.md: has no section `## {version} (YYYY-MM-DD)`; date what is under Unreleased."
    if not found[1].strip():
        return "", f"CHANGELOG.md: the section {version} is empty; say what changed."
    return found[1].strip(), ""


if __name__ == "__main__":
    sys.exit(main())
