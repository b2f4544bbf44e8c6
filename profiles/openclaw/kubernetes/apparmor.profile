# Written by sandbox-trace 0.1.0 from what was recorded.
# Paths are balanced: names that are random or vary from run to run stand for their kind.
# What is not listed is denied.

abi <abi/3.0>,

#include <tunables/global>

# A number: AppArmor has no repetition of a class.
@{any_number}={[0-9],[0-9][0-9],[0-9][0-9][0-9],[0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9],[0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9][0-9]}

# attach_disconnected: inherited and bind-mounted files come from another mount namespace, and their
# paths do not reach this one's root. mediate_deleted: a file that was deleted while open keeps its name.
profile openclaw flags=(attach_disconnected,mediate_deleted) {
  network inet stream,
  network unix stream,

  # The container's own processes may signal each other (abort() is a signal to oneself) and see
  # each other in /proc.
  signal (send, receive) peer=openclaw,
  ptrace (read, readby) peer=openclaw,
  # The runtime stops the container with a signal.
  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (receive) peer=crun,

  /app/ r,
  /app/config/openclaw.json r,
  /app/openclaw.py r,
  /app/skills/ r,
  /app/skills/digest.py r,
  /app/skills/words.py r,
  /dev/urandom r,
  /etc/hosts r,
  /etc/nsswitch.conf r,
  /etc/resolv.conf r,
  /run/openclaw/openclaw.pid w,
  /tmp/[a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_] rw,  # /tmp/0p4t53o4 and 3 like it
  /tmp/task-[a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_].txt rw,  # /tmp/task-1ccgu7rv.txt and 5 like it
  /tmp/words-[a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_]/ rw,  # /tmp/words-5grdedhs/ and 2 like it
  /tmp/words-[a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_]/words.db rwk,  # /tmp/words-5grdedhs/words.db and 2 like it
  /tmp/words-[a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_][a-z0-9_]/words.db-journal rw,  # /tmp/words-5grdedhs/words.db-journal and 2 like it
  /usr/bin/python3 ix,
  /usr/lib/python3.11/ r,
  /usr/lib/python3.11/** r,  # /usr/lib/python3.11/__pycache__/_compression.cpython-311.pyc and 86 like it
  /usr/lib/python3.11/**.so mr,  # /usr/lib/python3.11/lib-dynload/_bz2.cpython-311-x86_64-linux-gnu.so and 5 like it
  /usr/lib/x86_64-linux-gnu/libbz2.so.1.@{any_number} mr,  # /usr/lib/x86_64-linux-gnu/libbz2.so.1.0
  /usr/lib/x86_64-linux-gnu/libc.so.6 mr,
  /usr/lib/x86_64-linux-gnu/libcrypto.so.3 mr,
  /usr/lib/x86_64-linux-gnu/libexpat.so.1 mr,
  /usr/lib/x86_64-linux-gnu/liblzma.so.5 mr,
  /usr/lib/x86_64-linux-gnu/libm.so.6 mr,
  /usr/lib/x86_64-linux-gnu/libsqlite3.so.0 mr,
  /usr/lib/x86_64-linux-gnu/libssl.so.3 mr,
  /usr/lib/x86_64-linux-gnu/libz.so.1 mr,
  owner /app/logs/openclaw.log w,
}
