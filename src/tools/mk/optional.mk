# SPDX-License-Identifier: MIT
#
# optional.mk: the libraries that a caller asks for, and the words that harden what is installed.
#
# ASKED      LZ4=1 SQLITE=1 MIMALLOC=1 TLS=1 link liblz4, SQLite, mimalloc and OpenSSL into all that
#            one make builds: libcellar.a, .so and the program have the same features. Without a
#            word none is linked. A library that is asked for and missing ends the build.
# ALL_LIBS   1: those of the four that are there, but not those with NAME=0. `make run`, test,
#            check and the targets of proof.mk set it for themselves and the makes that they start;
#            bench sets it and leaves out mimalloc, which would serve every peer.
# RESULT     HAVE_LZ4 HAVE_SQLITE HAVE_MIMALLOC HAVE_TLS: 1 or nothing. WITH_FLAGS WITH_LIBS of all
#            but mimalloc, MI_FLAGS MI_LIBS of it.
# PROBE      a program of one line is compiled and linked as a user's compiler does it.
# HARDEN     What is installed is hardened unless the caller gives CFLAGS or sanitizers. Files that
#            read bytes of strangers have the strong stack protector, all others that of arrays.
#            Instructions of the rows of `make guard`: 25 of 32 within 1 %, at most 2.1 % more.
#            Rejected: the strong one everywhere (a get 6.7 %); -fcf-protection=full (a get 1.7 %):
#            Linux does not check its second half in user space.

probe_link = $(shell mkdir -p build && p=build/.probe.$$$$ && \
  printf '$(hash)include <$(1)>\nint main(void){return 0;}\n' >$$p.c && \
  $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $$p.c -o $$p $(2) >/dev/null 2>&1 && echo yes; \
  rm -f $$p $$p.c)

MACHINE  := $(shell $(CC) -dumpmachine 2>/dev/null)
GOALS    := $(or $(MAKECMDGOALS),$(.DEFAULT_GOAL))
BENCHING := $(filter bench bench-% guard,$(GOALS))
ifneq ($(BENCHING)$(filter run test test-% check check-% matrix-now kept-write where \
  coverage coverage-part torture mutation mutation-%,$(GOALS)),)
export ALL_LIBS ?= 1
endif
STATICALLY := $(STATIC)$(filter -static,$(LDFLAGS) $(CFLAGS))
# MSan must see every store and cannot look into a library. Sanitizers never run over mimalloc, which
# hides allocations from them.
NOT_THERE = $(if $(STATICALLY)$(findstring memory,$(SAN)),LZ4 SQLITE TLS) \
            $(if $(STATICALLY)$(SAN)$(BENCHING),MIMALLOC)
# $(call asked_for,NAME,header,words,package)
asked_for = $(strip $(if $(filter 1,$($(1))),$(if $(call probe_link,$(2),$(3)),1,\
  $(error $(1)=1 needs $(4), which is missing or does not link here)),\
  $(if $($(1)),$(if $(filter-out 0,$($(1))),$(error $(1)=$($(1)): 1 links it, 0 does not)),\
  $(if $(filter $(1),$(NOT_THERE)),,$(if $(filter 1,$(ALL_LIBS)),\
  $(if $(call probe_link,$(2),$(3)),1))))))
HAVE_LZ4      := $(call asked_for,LZ4,lz4.h,-llz4,liblz4-dev)
HAVE_SQLITE   := $(call asked_for,SQLITE,sqlite3.h,-lsqlite3,libsqlite3-dev)
HAVE_MIMALLOC := $(call asked_for,MIMALLOC,mimalloc.h,-lmimalloc,libmimalloc-dev)
HAVE_TLS      := $(call asked_for,TLS,openssl/provider.h,-lssl -lcrypto,libssl-dev)
WITH_LIBS  = $(if $(HAVE_LZ4),-llz4) $(if $(HAVE_SQLITE),-lsqlite3) $(if $(HAVE_TLS),-lssl -lcrypto)
WITH_FLAGS = $(if $(HAVE_LZ4),-DCELLAR_WITH_LZ4=1) $(if $(HAVE_SQLITE),-DCELLAR_WITH_SQLITE=1) \
             $(if $(HAVE_TLS),-DCELLAR_WITH_TLS=1)
MI_LIBS    = $(if $(HAVE_MIMALLOC),-lmimalloc)
MI_FLAGS   = $(if $(HAVE_MIMALLOC),-DCELLAR_WITH_MIMALLOC=1)
LINKED     = LZ4 $(if $(HAVE_LZ4),yes,no), SQLite $(if $(HAVE_SQLITE),yes,no), mimalloc \
             $(if $(HAVE_MIMALLOC),yes,no), TLS $(if $(HAVE_TLS),yes,no)

ifeq ($(origin CFLAGS)$(SAN),file)
HARDEN   := -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
            $(if $(filter x86_64% i%86%,$(MACHINE)),-fcf-protection=return)
MODULE    = $(notdir $(patsubst %/,%,$(dir $<)))
STRONG    = $(filter resp tls remote cli kit,$(MODULE))
SMALL     = $(if $(STATIC),$(if $(filter remote kit cli replay policies,$(MODULE)), -Os))
PROTECT   = $(if $(STRONG),-fstack-protector-strong,-fstack-protector)
HARDEN_EXE = $(if $(STATICALLY),,-pie)
endif
RELRO     = -Wl,-z,relro,-z,now
