"""What mkdocs is told beside mkdocs.yml: how a link out of docs/ is followed; nothing comes from elsewhere.

A page may point at any file of the repository; the site carries a copy of it along. A built page that would
load anything over the network is a warning, and so an error.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#]+)(#[^)]*)?\)")
_LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(?:https?:)?//|<link\b[^>]*\bhref=[\"']?(?:https?:)?//"
    r"(?![^>]*\brel=[\"']?canonical)|url\([\"']?(?:https?:)?//"
)

log = logging.getLogger("mkdocs.hooks.site")


def on_files(files: Files, config: Any) -> Files:
    """Adds what the pages point at outside docs/."""
    for path in sorted({path for page in files.documentation_pages() for path in _outside(page)}):
        files.append(File.generated(config, _name(path), content=(ROOT / path).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Leads those links to the copies; a folder has none, and is named only."""

    def led(match: re.Match[str]) -> str:
        path = _path(page.file, match[2])
        if path is None:
            return match[0]
        if not (ROOT / path).is_file():
            return f"{match[1]} (`{path}`)"
        here = os.path.dirname(page.file.src_uri)
        return f"[{match[1]}]({os.path.relpath(_name(path), here or '.')})"

    return _LINK.sub(led, markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Nothing is loaded from another host."""
    found = _LOADED.search(output)
    if found:
        log.warning("%s loads from elsewhere: %s", page.file.src_uri, found[0])
    return output


def _outside(page: File) -> set[str]:
    text = Path(page.abs_src_path or "").read_text(encoding="utf-8")
    paths = {_path(page, match[2]) for match in _LINK.finditer(text)}
    return {path for path in paths if path is not None and (ROOT / path).is_file()}


def _path(page: File, link: str) -> str | None:
    """From the root of the repository; None for what lies within docs/, or nowhere."""
    target = (ROOT / "docs" / page.src_uri).parent / link
    path = os.path.relpath(os.path.normpath(target), ROOT)
    return None if path.startswith(("docs/", "..")) or not (ROOT / path).exists() else path


def _name(path: str) -> str:
    """As text, which every browser shows, and without the dot of a hidden file, which a site leaves out."""
    path = path.lstrip(".")
    return f"files/{path}" if path.endswith(".txt") else f"files/{path}.txt"
