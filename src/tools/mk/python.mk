# SPDX-License-Identifier: MIT
#
# python.mk: the extension for Python as `make test` tries it, and the wheel.
#
# PICTURE    src/python/*.c + objects of the library -> $(B)/python/cellar/_cellar.abi3.so
#            src/python, dist/cellar_all.*, LICENSE -> build/sdist -> build/*.tar.gz, build/*.whl
# LEVELS     `make test` links the objects of the library, which are -fPIC: a second beside a minute.
# WITHOUT    Python.h of a Python 3.11 or later: HAVE_PYTHON is empty, and the tests are one skip.

PYTHON   ?= python3
PYTHON_H := $(if $(SAN)$(CORE),,$(shell $(PYTHON) -c 'import sys, sysconfig, os; \
              d = sysconfig.get_path("include"); \
              print(d if sys.version_info >= (3, 11) and os.path.exists(d + "/Python.h") else "")' 2>/dev/null))
HAVE_PYTHON := $(if $(PYTHON_H),1)
PYTHON_C  = $(wildcard src/python/*.c)
PYTHON_PY = $(wildcard src/python/cellar/*)
PYTHON_O  = $(PYTHON_C:src/%.c=$(B)/lib/%.o)
PYTHON_SO = $(B)/python/cellar/_cellar.abi3.so
PYTHON_WORDS = -isystem $(PYTHON_H) -DPy_LIMITED_API=0x030B0000 -DCELLAR_API=
$(PYTHON_O): $(B)/lib/%.o: src/%.c | $(B)/.uthash
	$(say) CC $*
	$(Q)mkdir -p $(@D)
	$(Q)$(PRODUCT) $(PYTHON_WORDS) -c -o $@ $<
$(PYTHON_SO): $(PYTHON_O) $(B)/libcellar.a $(PYTHON_PY)
	$(say) LD $@
	$(Q)mkdir -p $(@D)
	$(Q)cp $(PYTHON_PY) $(@D)
	$(Q)$(LINK) -shared $(RELRO) -Wl,--exclude-libs,ALL -o $@ $(PYTHON_O) $(B)/libcellar.a \
	  $(MI_LIBS) $(WITH_LIBS) -lm $(LDLIBS)
export CELLAR_PYTHON = $(if $(HAVE_PYTHON),$(PYTHON))
## python: the extension for Python, in the build folder
python: $(if $(HAVE_PYTHON),$(PYTHON_SO))
.PHONY: python
