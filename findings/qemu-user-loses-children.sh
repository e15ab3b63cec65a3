#!/bin/bash
# Under qemu-user no process can be a child subreaper, and posix_spawn of nothing succeeds.
#
# Software:  qemu-user-static 1:7.2+dfsg-7+deb12u18+b3 (Debian 12), with the machine's own Python under it
# Behaviour: prctl(PR_SET_CHILD_SUBREAPER) is EINVAL, as on Linux before 3.4: what a process' children leave
#            behind becomes init's, and a supervisor that does not look at the result does not notice.
#            clone(CLONE_VM | CLONE_VFORK) is run as fork, so a child's writes are not seen by its parent: C
#            libraries report a failed exec of posix_spawn in just this way, and it returns 0 with the pid of a
#            child that exits with 127.
# Seen:      native: subreaper done, posix_spawn of nothing ENOENT
#            qemu-user: subreaper EINVAL, posix_spawn of nothing exit status 127
# Exit:      0 as recorded, 1 it behaves differently, 2 the packages cannot be had here
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || exit 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
package=qemu-user-static=1:7.2+dfsg-7+deb12u18+b3
apt-get -q download "$package" >apt.log 2>&1 || { cat apt.log; exit 2; }
for file in ./*.deb; do dpkg-deb --fsys-tarfile "$file" | tar -x ./usr/bin/qemu-x86_64-static; done
usr/bin/qemu-x86_64-static --version | sed -n 1p

cat >spawn.py <<'PYTHON'
import ctypes, errno, os

PR_SET_CHILD_SUBREAPER = 36
libc = ctypes.CDLL(None, use_errno=True)
result = libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
subreaper = "done" if result == 0 else errno.errorcode[ctypes.get_errno()]
try:
    pid = os.posix_spawn("./no-such-program", ["no-such-program"], {})
    spawned = f"exit status {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}"
except OSError as error:
    spawned = errno.errorcode[error.errno]
print(f"subreaper {subreaper}, posix_spawn of nothing {spawned}")
PYTHON
python=$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')
native=$("$python" spawn.py)
emulated=$(usr/bin/qemu-x86_64-static "$python" spawn.py)
echo "native: $native"
echo "qemu-user: $emulated"
[ "$native" = "subreaper done, posix_spawn of nothing ENOENT" ] &&
    [ "$emulated" = "subreaper EINVAL, posix_spawn of nothing exit status 127" ]
