#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the package for Python does what its page says.
# Method: run.py runs each function of the files beside it as a case, on the extension that `make
#         test` linked from the objects of the library.
. tests/support/t.sh
if [ -z "${CELLAR_PYTHON-}" ]; then
    t_skip the_package_for_python_works "python3-dev is missing"
    t_end python
fi
PYTHONPATH=$(realpath "${CELLAR_PYTHON_PATH:-$CELLAR_BUILD/python}") PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH PYTHONDONTWRITEBYTECODE
exec "$CELLAR_PYTHON" tests/unit/python/run.py
