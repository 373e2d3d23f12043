#!/bin/sh
# SPDX-License-Identifier: MIT
#
# young: runs a command on a machine that booted three seconds ago, as its clocks tell it.
#
# USE        sh tests/support/young.sh COMMAND...    (UPTIME=600: ten minutes ago)
#            Ends with the command's status, or with that of unshare(1) where the kernel or the user's
#            rights do not allow a time name space.
up=$(cut -d. -f1 /proc/uptime) || exit 1
since=$((${UPTIME:-3} - up))
exec unshare --time --fork --kill-child --boottime=$since --monotonic=$since -- "$@"
