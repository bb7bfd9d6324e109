"""code/lib of a bundle for containers that run on this Python, which may be another than the image's 3.12.

Compiled packages for 3.12 do not load here. In their place stands a package that gives what is installed here.
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

COMPILED = "*.cpython-312-x86_64-linux-gnu.so"
FITS = sys.version_info[:2] == (3, 12) and (sys.platform, platform.machine()) == ("linux", "x86_64")
STUB = '''"""Stands for the package of this name for another Python: what is installed in this one."""

import sys
from importlib.machinery import PathFinder
from pathlib import Path

_here = Path(__file__).resolve().parents[1]
_found = PathFinder.find_spec(__name__, [each for each in sys.path if Path(each).resolve() != _here])
__path__ = list(_found.submodule_search_locations)
exec(compile(Path(_found.origin).read_bytes(), _found.origin, "exec"))
'''


def make(folder: Path) -> Path:
    """A small folder of packages as plantdoc.deploy.container_packages brings them; returns `folder`."""
    _stub(folder / "PIL")
    return folder


def adapt(lib: Path) -> None:
    """Put stubs in the place of packages in `lib` that this Python cannot load."""
    for package in {path.parent for path in lib.glob(f"*/{COMPILED}")} if not FITS else ():
        shutil.rmtree(package)
        _stub(package)


def _stub(package: Path) -> None:
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(STUB)
