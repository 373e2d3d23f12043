# SPDX-License-Identifier: MIT
#
# install.mk: what `make install` and `make uninstall` do, with the pkg-config and CMake files.
#
# PATHS      LIBDIR and the others are absolute or lie below PREFIX. The paths in the CMake file are
#            computed from them: a fixed "three folders up" breaks with a multiarch LIBDIR.

PREFIX   ?= /usr/local
LIBDIR   ?= lib
INCDIR   ?= include
BINDIR   ?= bin
MANDIR   ?= share/man
DOCDIR   ?= share/doc/cellar
UNITDIR  ?=
below     = $(if $(filter /%,$(1)),$(1),$(PREFIX)/$(1))
I_LIB     = $(call below,$(LIBDIR))
I_INC     = $(call below,$(INCDIR))
I_BIN     = $(call below,$(BINDIR))
I_MAN     = $(call below,$(MANDIR))
I_DOC     = $(call below,$(DOCDIR))
I_UNIT    = $(call below,$(UNITDIR))
UNITS     = $(if $(UNITDIR),src/tools/package/cellar.service src/tools/package/cellar.socket)
I_CMAKE   = $(I_LIB)/cmake/cellar
relative  = $(shell realpath -m --relative-to='$(I_CMAKE)' '$(1)')
SAME_UP_TO = $(if $(filter 0,$(MAJOR)),$(MAJOR).$(MINOR),$(MAJOR))

# What a program with the archive links as well.
LIBS_BEHIND = $(strip $(MI_LIBS) $(WITH_LIBS))
blank    := $() $()
define PC_FILE
prefix=$(PREFIX)
libdir=$(I_LIB)
includedir=$(I_INC)

Name: cellar
Description: in-process cache with one hard memory budget
Version: $(VERSION)$(DEV)
Libs: -L"$${libdir}" -lcellar
Libs.private: $(strip $(LIBS_BEHIND) -pthread)
Cflags: -I"$${includedir}"
endef
define CMAKE_CONFIG
# cellar::cellar (shared) and cellar::cellar-static
include(CMakeFindDependencyMacro)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)
get_filename_component(_cellar_lib "$${CMAKE_CURRENT_LIST_DIR}/$(call relative,$(I_LIB))" ABSOLUTE)
get_filename_component(_cellar_inc "$${CMAKE_CURRENT_LIST_DIR}/$(call relative,$(I_INC))" ABSOLUTE)
if(NOT TARGET cellar::cellar)
  add_library(cellar::cellar SHARED IMPORTED)
  set_target_properties(cellar::cellar PROPERTIES
    IMPORTED_LOCATION "$${_cellar_lib}/$(SO)"
    IMPORTED_SONAME "libcellar.so.$(ABI)"
    INTERFACE_INCLUDE_DIRECTORIES "$${_cellar_inc}")
  add_library(cellar::cellar-static STATIC IMPORTED)
  set_target_properties(cellar::cellar-static PROPERTIES
    IMPORTED_LOCATION "$${_cellar_lib}/libcellar.a"
    INTERFACE_INCLUDE_DIRECTORIES "$${_cellar_inc}"
    INTERFACE_LINK_LIBRARIES "$(subst $(blank),;,$(strip Threads::Threads $(LIBS_BEHIND)))")
endif()
unset(_cellar_lib)
unset(_cellar_inc)
endef
define CMAKE_VERSION
# Compatible: the same $(if $(filter 0,$(MAJOR)),minor,major) version, and not older.
set(PACKAGE_VERSION "$(VERSION)")
if(PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
elseif("$${PACKAGE_FIND_VERSION}." MATCHES "^$(subst .,[.],$(SAME_UP_TO))[.]")
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
  if(PACKAGE_FIND_VERSION STREQUAL PACKAGE_VERSION)
    set(PACKAGE_VERSION_EXACT TRUE)
  endif()
else()
  set(PACKAGE_VERSION_COMPATIBLE FALSE)
endif()
endef
# These three are exported for this target alone: make expands an exported variable for every
# recipe line.
install: private export PC_TEXT = $(PC_FILE)
install: private export CMAKE_CONFIG_TEXT = $(CMAKE_CONFIG)
install: private export CMAKE_VERSION_TEXT = $(CMAKE_VERSION)

## install: library, headers, program, man pages, pkg-config and CMake files
## (PREFIX, LIBDIR, INCDIR, BINDIR, MANDIR, DESTDIR; UNITDIR: units for systemd)
install: lib man $(if $(CLI),build/cellar)
	$(Q)mkdir -p '$(DESTDIR)$(I_LIB)/pkgconfig' '$(DESTDIR)$(I_CMAKE)' '$(DESTDIR)$(I_INC)' \
	  '$(DESTDIR)$(I_BIN)' '$(DESTDIR)$(I_MAN)' '$(DESTDIR)$(I_DOC)'
	$(Q)install -m 644 $(HEADERS) $(WRAPPER) '$(DESTDIR)$(I_INC)'
	$(Q)install -m 644 $(B)/libcellar.a '$(DESTDIR)$(I_LIB)'
	$(Q)install -m 755 $(B)/$(SO) '$(DESTDIR)$(I_LIB)'
	$(Q)ln -sf $(SO) '$(DESTDIR)$(I_LIB)/libcellar.so.$(ABI)'
	$(Q)ln -sf libcellar.so.$(ABI) '$(DESTDIR)$(I_LIB)/libcellar.so'
	$(Q)printf '%s\n' "$$PC_TEXT" >'$(DESTDIR)$(I_LIB)/pkgconfig/cellar.pc'
	$(Q)printf '%s\n' "$$CMAKE_CONFIG_TEXT" >'$(DESTDIR)$(I_CMAKE)/cellar-config.cmake'
	$(Q)printf '%s\n' "$$CMAKE_VERSION_TEXT" >'$(DESTDIR)$(I_CMAKE)/cellar-config-version.cmake'
	$(if $(CLI),$(Q)install -m 755 $(B)/cellar$(EXE) '$(DESTDIR)$(I_BIN)/cellar')
	$(Q)for n in 1 3 7; do mkdir -p '$(DESTDIR)$(I_MAN)'/man$$n && set -- dist/doc/man$$n/*.$$n && \
	  { [ ! -f "$$1" ] || install -m 644 "$$@" '$(DESTDIR)$(I_MAN)'/man$$n; } || exit 1; done
	$(Q)install -m 644 LICENSE src/tools/package/grafana.json dist/doc/*.html dist/doc/site.* dist/doc/search.js '$(DESTDIR)$(I_DOC)'
	$(if $(UNITS),$(Q)mkdir -p '$(DESTDIR)$(I_UNIT)' && for f in $(UNITS); do \
	  sed 's|@BINDIR@|$(I_BIN)|' "$$f" >'$(DESTDIR)$(I_UNIT)'/"$${f##*/}" || exit 1; done)
	@echo "installed below $(DESTDIR)$(PREFIX)"
	$(if $(DESTDIR),,@echo "next: $(if $(filter /usr /usr/local,$(PREFIX)),ldconfig,export \
	  PKG_CONFIG_PATH='$(I_LIB)/pkgconfig' LD_LIBRARY_PATH='$(I_LIB)')")

# The folders that uninstall removes when they are empty: two that only cellar uses; with DESTDIR or
# a PREFIX of its own all up to PREFIX. The other folders of /usr and /usr/local are the system's.
OWN_FOLDERS = '$(DESTDIR)$(I_CMAKE)' | '$(DESTDIR)$(I_DOC)'$(if \
  $(DESTDIR)$(filter-out /usr /usr/local,$(PREFIX)), | '$(DESTDIR)$(PREFIX)'*)
## uninstall: remove what install put there, and its folders when they are empty (same variables)
uninstall: man
	$(Q)rm -f $(foreach h,$(HEADERS) $(WRAPPER),'$(DESTDIR)$(I_INC)/$(notdir $(h))') \
	  $(foreach f,libcellar.a libcellar.so libcellar.so.$(ABI) $(SO) pkgconfig/cellar.pc \
	  cmake/cellar/cellar-config.cmake cmake/cellar/cellar-config-version.cmake,\
	  '$(DESTDIR)$(I_LIB)/$(f)') \
	  '$(DESTDIR)$(I_BIN)/cellar' '$(DESTDIR)$(I_DOC)/LICENSE' '$(DESTDIR)$(I_DOC)/grafana.json' \
	  $(foreach f,$(UNITS),'$(DESTDIR)$(I_UNIT)/$(notdir $(f))')
	$(Q)cd dist/doc && set -- *.html *.css *.js && if cd '$(DESTDIR)$(I_DOC)' 2>/dev/null; then rm -f "$$@"; fi
	$(Q)cd dist/doc && set -- man?/* && if cd '$(DESTDIR)$(I_MAN)' 2>/dev/null; then rm -f "$$@"; fi
	$(Q)for d in '$(I_CMAKE)' '$(I_LIB)/pkgconfig' '$(I_INC)' '$(I_BIN)' '$(I_DOC)' \
	  '$(I_MAN)/man1' '$(I_MAN)/man3' '$(I_MAN)/man7' $(if $(UNITS),'$(I_UNIT)'); do d='$(DESTDIR)'$$d; \
	  while case $$d in $(OWN_FOLDERS)) rmdir "$$d" 2>/dev/null ;; *) false ;; esac; do \
	  d=$${d%/*}; done; done
.PHONY: install uninstall
