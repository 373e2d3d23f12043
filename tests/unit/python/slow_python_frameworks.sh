#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the package passes the tests that Django, dogpile and CPython have for their caches, and its
#         stubs mypy; it serves workers of gunicorn.
# Method: frameworks.py and gunicorn_workers.py beside this file, with the sources of peers.txt and
#         peers_sdist.txt, which pip fetches once into build/peers/python; a package that cannot be
#         had is a skip.
. tests/support/t.sh
if [ -z "${CELLAR_PYTHON-}" ]; then
    t_skip the_package_passes_the_tests_of_others "python3-dev is missing"
    t_end python_frameworks
fi
here=tests/unit/python peers=build/peers/python
$MAKE -s python || exit 1
if [ ! -d $peers/django ]; then
    timeout 120 "$CELLAR_PYTHON" -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: \
        --require-hashes --target $peers -r $here/peers.txt 2>/dev/null || rm -rf $peers
fi
if [ -d $peers/django ] && [ ! -d $peers/django-5.2.19 ]; then
    timeout 120 "$CELLAR_PYTHON" -m pip download -q --disable-pip-version-check --no-deps --no-binary :all: \
        --require-hashes -d $peers -r $here/peers_sdist.txt 2>/dev/null &&
        tar -xzf $peers/django-5.2.19.tar.gz -C $peers
fi
PYTHONPATH=$PWD/$(make -s where)/python:$PWD/$peers PYTHONDONTWRITEBYTECODE=1 DJANGO_TESTS=$PWD/$peers/django-5.2.19/tests
export PYTHONPATH PYTHONDONTWRITEBYTECODE DJANGO_TESTS
"$CELLAR_PYTHON" $here/run.py frameworks gunicorn_workers
