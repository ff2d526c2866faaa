"""`python -m tests.docs`: writes anew what the documents say of the code."""

from __future__ import annotations

import sys

from tests.docs.made import ROOT, all_made


def main() -> int:
    for path, text in all_made().items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
