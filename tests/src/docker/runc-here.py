#!/usr/bin/python3
"""runc, for an engine on a machine that lacks a capability itself (a virtual machine or container that was given fewer):
`docker run --privileged` asks for every capability that the kernel has, and runc can't give what it does not hold.
Takes those that this machine lacks out of the container's configuration, and changes nothing else.
"""

import json
import os
import sys

# By number: include/uapi/linux/capability.h.
NAMES = """CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE""".split()


def held():
    with open("/proc/self/status", encoding="ascii") as status:
        bits = next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd:"))
    return {"CAP_" + name for number, name in enumerate(NAMES) if bits >> number & 1}


def trim(path, process_of):
    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    capabilities = process_of(config).get("capabilities") or {}
    for names in capabilities.values():
        names[:] = [name for name in names if name in held()]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)


def main():
    for option, value in zip(sys.argv, sys.argv[1:]):
        if option == "--bundle":
            trim(os.path.join(value, "config.json"), lambda config: config["process"])
        elif option == "--process":
            trim(value, lambda process: process)
    os.execvp("runc", ["runc"] + sys.argv[1:])


main()
