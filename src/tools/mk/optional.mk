# SPDX-License-Identifier: MIT
#
# optional.mk: mimalloc, liblz4 and SQLite, which the library uses when they are there; hiredis and
# OpenSSL, which REMOTE=1 and TLS=1 ask for.
#
# RESULT     MIMALLOC=off|shared|object, LZ4=off|shared and SQLITE3=off|shared, from the caller or
#            probed; MI_LIBS MI_OBJ MI_FLAGS, and WITH_LIBS WITH_FLAGS of the others, for the
#            rules of the Makefile. HAVE_REMOTE is 1 if REMOTE=1 and hiredis is there, HAVE_TLS
#            if TLS=1 and OpenSSL is.
# PROBE      a program of one line is compiled and linked as a user's compiler does it.

probe_link = $(shell mkdir -p build && p=build/.probe.$$$$ && \
  printf '$(hash)include <$(1)>\nint main(void){return 0;}\n' >$$p.c && \
  $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $$p.c -o $$p $(2) >/dev/null 2>&1 && echo yes; \
  rm -f $$p $$p.c)

# Sanitizer builds never use mimalloc: it hides allocations from them.
ifneq ($(SAN)$(STATIC)$(filter -static,$(LDFLAGS) $(CFLAGS)),)
MIMALLOC ?= off
endif
MIMALLOC ?= $(if $(call probe_link,mimalloc.h,-lmimalloc),shared,off)
MIMALLOC := $(MIMALLOC)
MI_LIBS   = $(if $(filter shared,$(MIMALLOC)),-lmimalloc)
MI_OBJ    = $(if $(filter object,$(MIMALLOC)),$(or $(MIMALLOC_OBJ),$(B)/mimalloc.o))
MI_FLAGS  = -DCELLAR_WITH_MIMALLOC=1 \
            $(if $(wildcard build/mimalloc/include),-Ibuild/mimalloc/include)
# The archive never needs them. MSan must see every store, so it cannot look into them.
ifneq ($(findstring memory,$(SAN))$(STATIC)$(filter -static,$(LDFLAGS) $(CFLAGS)),)
LZ4 ?= off
SQLITE3 ?= off
endif
LZ4 ?= $(if $(call probe_link,lz4.h,-llz4),shared,off)
LZ4 := $(LZ4)
SQLITE3 ?= $(if $(call probe_link,sqlite3.h,-lsqlite3),shared,off)
SQLITE3 := $(SQLITE3)
CAN_TLS    = $(call probe_link,openssl/provider.h,-lssl -lcrypto)
HAVE_TLS  := $(if $(filter 1,$(TLS)),$(if $(CAN_TLS),1,\
               $(error TLS=1 needs OpenSSL 3: install libssl-dev)))
TLS_LIBS   = $(if $(HAVE_TLS),-lssl -lcrypto)
WITH_LIBS  = $(if $(filter shared,$(LZ4)),-llz4) $(if $(filter shared,$(SQLITE3)),-lsqlite3) \
             $(TLS_LIBS)
WITH_FLAGS = $(if $(filter shared,$(LZ4)),-DCELLAR_WITH_LZ4=1) \
             $(if $(filter shared,$(SQLITE3)),-DCELLAR_WITH_SQLITE=1) \
             $(if $(HAVE_TLS),-DCELLAR_WITH_TLS=1)
ifneq ($(filter-out off shared,$(LZ4)),)
$(error LZ4=$(LZ4): there are off and shared)
endif
ifneq ($(filter-out off shared,$(SQLITE3)),)
$(error SQLITE3=$(SQLITE3): there are off and shared)
endif
ifneq ($(filter-out off shared object,$(MIMALLOC)),)
$(error MIMALLOC=$(MIMALLOC): there are off, shared and object)
endif
# No object of libcellar uses hiredis, so its words are no part of VARIANT.
HAVE_REMOTE := $(if $(filter 1,$(REMOTE)),$(if $(call probe_link,hiredis/hiredis.h,-lhiredis),1))
