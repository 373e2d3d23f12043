#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the newest redis-py works with the port.
# Method: pip installs it in an environment of its own; then slow_resp_clients.sh uses it.
#         Without pip or a network: a skip.
. tests/support/t.sh
if t_have python3 && python3 -m venv "$t_tmp/env" >/dev/null 2>&1 &&
    "$t_tmp/env/bin/pip" install -q redis >"$t_tmp/pip" 2>&1; then
    "$t_tmp/env/bin/pip" list 2>/dev/null | grep '^redis '
    t_case newest_redis_py_works env REDIS_PY="$t_tmp/env/bin/python" \
        sh tests/unit/guests/resp/slow_resp_clients.sh
else
    t_skip newest_redis_py_works "redis-py cannot be installed (python3-venv, pip, a network)"
fi
t_end matrix_resp_redis_py
