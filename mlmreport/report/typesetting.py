"""Typst in a process of its own: ``typesetting.py SOURCE OUTPUT ROOT NONE``.

Typst can be neither interrupted nor limited within ours. It sees the files below ROOT alone, no
package (NONE is an empty folder, and what it would fetch is asked for at an address where nobody
answers).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["NOWHERE", "REFUSED"]

REFUSED = 65
"""The exit code where Typst refuses the document; its message is on standard output."""
_DEAD_END = "http://127.0.0.1:9"
NOWHERE = {
    name: _DEAD_END
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    for name in (proxy, proxy.lower())
} | {"NO_PROXY": "", "no_proxy": ""}
"""Environment variables under which nothing can be fetched."""


def _main(source: str, output: str, root: str, none: str) -> int:
    import typst

    content: Any = Path(source).read_bytes()
    try:
        typst.compile(
            content,
            output=output,
            root=root,
            package_path=none,
            package_cache_path=none,
        )
    except typst.TypstError as error:
        message = "\n".join([str(error.diagnostic or error.message), *error.hints])
        os.write(1, message.encode("utf-8", errors="replace"))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
