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
# Slots of a type keep functions in a void *, which POSIX allows and ISO C does not.
PYTHON_WORDS = -isystem $(PYTHON_H) -DPy_LIMITED_API=0x030B0000 -DCELLAR_API= -Wno-pedantic
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

SDIST     = build/sdist
PYTHON_VERSION = $(VERSION)$(if $(DEV),.dev0)
define PYTHON_INFO
Metadata-Version: 2.4
Name: cellar-cache
Version: $(PYTHON_VERSION)
Summary: Cache with TTL, disk and shared workers, for Python on Linux
License-Expression: MIT AND BSD-1-Clause
License-File: LICENSE
License-File: LICENSE.uthash
Classifier: Operating System :: POSIX :: Linux
Requires-Python: >=3.11
Description-Content-Type: text/markdown

endef
export PYTHON_INFO
## wheel: sdist and wheel of the package for Python, in build/
wheel: dropin
	$(say) GEN $(SDIST)
	$(Q)rm -rf $(SDIST) && mkdir -p $(SDIST)/src/include $(SDIST)/src/python $(SDIST)/cellar
	$(Q)cp $(PYTHON_PY) $(SDIST)/cellar
	$(Q)cp $(wildcard src/python/*.[ch]) $(SDIST)/src/python
	$(Q)cp src/python/build_backend.py src/python/pyproject.toml LICENSE $(SDIST)
	$(Q)cp dist/cellar_all.c dist/cellar_all.h $(SDIST)/src
	$(Q)for h in $(notdir $(HEADERS)); do echo '$(hash)include "cellar_all.h"' >$(SDIST)/src/include/$$h; done
	$(Q)sed '1,/^\*\//!d' $(UTHASH) >$(SDIST)/LICENSE.uthash
	$(Q){ printf '%s\n' "$$PYTHON_INFO"; cat include/python.md; } >$(SDIST)/PKG-INFO
	$(say) GEN build/cellar_cache-$(PYTHON_VERSION)
	$(Q)cd $(SDIST) && SOURCE_DATE_EPOCH=$(EPOCH) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -c \
	  'import build_backend as b; print(b.build_sdist("..")); print(b.build_wheel(".."))'
.PHONY: python wheel
