"""The `apt-get` of a fresh Ubuntu: apt-daily holds a lock at first, and without `update` it knows no package."""

from __future__ import annotations

from pathlib import Path

LOCKED = 7  # calls of each kind that find the lock held: longer than five quick tries take
SCRIPT = """#!/bin/sh
# In apt's words: `update` takes the lock of the lists, which DPkg::Lock::Timeout is not for; `install` that of dpkg.
count() { n=$(($(cat "{folder}/$1" 2>/dev/null || echo 0) + 1)); echo $n >"{folder}/$1"; [ $n -le {locked} ]; }
locked() {
  echo "E: Could not get lock $1. It is held by process 611 ($2)" >&2
  echo "E: Unable to $3" >&2
  exit 100
}
echo "apt-get $*" >>"{folder}/apt.log"
case $1 in
  update)
    count updates && locked /var/lib/apt/lists/lock apt-get "lock directory /var/lib/apt/lists/"
    touch "{folder}/apt.lists"
    ;;
  install)
    [ -e "{folder}/apt.lists" ] || { echo "E: Unable to locate package make" >&2; exit 100; }
    count installs && locked /var/lib/dpkg/lock-frontend unattended-upgr "acquire the dpkg frontend lock"
    {installs}
    ;;
esac
"""


def install(folder: Path, locked: int = LOCKED, installs: str = 'echo "$*: not on this machine" >&2; exit 100') -> None:
    """Put it into `folder`/bin; the shell line `installs` is what `install` does once it has the lock."""
    program = folder / "bin/apt-get"
    text = SCRIPT.replace("{folder}", str(folder)).replace("{locked}", str(locked)).replace("{installs}", installs)
    program.write_text(text)
    program.chmod(0o755)
