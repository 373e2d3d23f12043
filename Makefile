# SPDX-License-Identifier: MIT
#
# cellar: one Makefile, no configure step. `make help` prints the targets.
#
# PICTURE    src/*.c -> build/<variant>/{lib,dbg,sim,gate}/*.o -> libcellar.a .so, cellar, tests
#            include/*.h + SRC -> dist/cellar.h, dist/cellar.c (the drop-in)
# VARIANT    a checksum of compiler and flags names the folder, so that changing a flag can never
#            mix stale objects. build/cellar and its like are links into the latest variant.
# VARIABLES  CC CXX AR OBJCOPY CFLAGS CPPFLAGS LDFLAGS LDLIBS come from the caller; ours are added,
#            never put in their place. PREFIX LIBDIR INCDIR BINDIR MANDIR DESTDIR for install.
#            SAN=address|undefined|thread (or a list with commas)   MIMALLOC=off|shared|object
#            LZ4=off|shared   T=name one test   SEED=n|random   AUDIT=1   V=1 shows commands
#            DEPS=off|print   STATIC=1
# NEEDS      make, a C compiler, sh, awk, sed; everything else is probed by src/deps.sh.

# The library, in floor order, which is also the order of the amalgamation. `make floors` complains
# of a file that is missing here.
SRC_BASE  = err text opts mem clock quick tz hash random sync self callout seq table glob log \
            vfs pages pack bus sim
SRC_STATS = hist stats text
SRC_L1    = record log index runs big pin ghost shadow quota evict expire sample get put l1
SRC_L2    = form index link gate log commit admit codec put get ends io map trouble doorbell \
            scrap recover warm snap resize audit images open forked inspect
SRC_GUARD = flight flight_change flight_lease flight_fork bloom breaker
SRC_LIMIT = rule table ring side calendar narrow wide change call chain persist text preset open \
            audit
SRC_LOCK  = store lock many stat
SRC_CACHE = version settings open view tier disk disk_none hook turn get set update many filter circuit tag \
            keep match deps why scan listen stat load_opts load_say load_guard load_lead \
            stale load load_many lease memo warm tick
MODULES  := base stats l1 l2 guard limit lock cache
SRC      := $(SRC_BASE:%=src/base/%.c) $(SRC_STATS:%=src/stats/%.c) $(SRC_L1:%=src/l1/%.c) \
            $(SRC_L2:%=src/l2/%.c) $(SRC_GUARD:%=src/guard/%.c) \
            $(SRC_LIMIT:%=src/limit/%.c) $(SRC_LOCK:%=src/lock/%.c) $(SRC_CACHE:%=src/cache/%.c)
GATE     := $(wildcard src/gate/*.c)
# The public headers in the order in which the drop-in's one header folds them.
HEADERS  := $(addprefix include/cellar,.h _entry.h _load.h _invalidate.h _l2.h _observe.h _bloom.h \
              _breaker.h _admin.h _memo.h _warm.h _limit.h _lock.h)

.DEFAULT_GOAL := $(if $(T),test,all)
CPUS     := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
ifeq ($(MAKELEVEL)$(filter -j% --jobserver%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(CPUS)
endif
MAKEFLAGS += --no-builtin-rules
export LC_ALL = C
CC       ?= cc
# A C++ caller is built by the sister of CC, whose sanitizers are the same.
cxx_of    = $(if $(findstring clang,$(notdir $(1))),$(subst clang,clang++,$(1)),g++)
ifeq ($(origin CXX),default)
CXX      := $(call cxx_of,$(CC))
endif
OBJCOPY  ?= objcopy
AWK      ?= awk
CFLAGS   ?= -O2 -g
WARN      = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes \
            -Wmissing-prototypes -Wvla -Wundef
comma    := ,
hash     := \#
SAN_FLAGS = $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -g \
              $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=all))
CPP_OWN   = -D_GNU_SOURCE -Iinclude -Isrc $(if $(UTHASH_DIR),-I$(UTHASH_DIR))
C_OWN     = -std=c11 -fvisibility=hidden -fPIC -fno-semantic-interposition -pthread $(WARN)

# mimalloc: probed as a user's compiler sees it; never in sanitizer builds, whose view it hides.
probe_link = $(shell mkdir -p build && p=build/.probe.$$$$ && \
  printf '$(hash)include <$(1)>\nint main(void){return 0;}\n' >$$p.c && \
  $(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) $$p.c -o $$p $(2) >/dev/null 2>&1 && echo yes; \
  rm -f $$p $$p.c)
ifneq ($(SAN)$(STATIC)$(filter -static,$(LDFLAGS) $(CFLAGS)),)
MIMALLOC ?= off
endif
MIMALLOC ?= $(if $(call probe_link,mimalloc.h,-lmimalloc),shared,off)
MIMALLOC := $(MIMALLOC)
MI_LIBS   = $(if $(filter shared,$(MIMALLOC)),-lmimalloc)
MI_OBJ    = $(if $(filter object,$(MIMALLOC)),$(or $(MIMALLOC_OBJ),$(B)/mimalloc.o))
MI_FLAGS  = -DCELLAR_WITH_MIMALLOC=1 \
            $(if $(wildcard build/mimalloc/include),-Ibuild/mimalloc/include)
# liblz4: the same way, but the archive never needs it; a sanitizer that must see every store, MSan,
# cannot look into it.
ifneq ($(findstring memory,$(SAN))$(STATIC)$(filter -static,$(LDFLAGS) $(CFLAGS)),)
LZ4 ?= off
endif
LZ4 ?= $(if $(call probe_link,lz4.h,-llz4),shared,off)
LZ4 := $(LZ4)
LZ_LIBS   = $(if $(filter shared,$(LZ4)),-llz4)
LZ_FLAGS  = $(if $(filter shared,$(LZ4)),-DCELLAR_WITH_LZ4=1)
ifneq ($(filter-out off shared,$(LZ4)),)
$(error LZ4=$(LZ4): there are off and shared)
endif
ifneq ($(filter-out off shared object,$(MIMALLOC)),)
$(error MIMALLOC=$(MIMALLOC): there are off, shared and object)
endif

VARIANT := $(shell { $(CC) --version 2>&1 | head -n 1; echo '$(CC) $(CPP_OWN) $(CPPFLAGS) $(C_OWN) \
             $(CFLAGS) $(SAN_FLAGS) $(LDFLAGS) $(LDLIBS) $(MIMALLOC) $(LZ4) $(DROPIN) \
             $(STATIC)'; } | \
             cksum | cut -d' ' -f1)
B       := build/$(VARIANT)
Q        = $(if $(filter 1,$(V)),,@)
say      = $(if $(filter 1,$(V)),@:,@printf '%-5s %s\n')
COMPILE  = $(CC) $(CPP_OWN) $(CPPFLAGS) $(C_OWN) $(CFLAGS) $(SAN_FLAGS) -MMD -MP
# What people start lies in build/ itself; builds that only serve a check leave that alone.
link     = $(if $(SAN)$(DROPIN)$(NOLINK),,$(Q)ln -sfn $(VARIANT)/$(1) build/$(2))
LINK     = $(CC) $(CFLAGS) $(SAN_FLAGS) -pthread $(LDFLAGS)

header_number = $(shell sed -n 's/^$(hash)define $(1)  *\([0-9][0-9]*\).*/\1/p' \
                  include/cellar.h 2>/dev/null)
MAJOR   := $(or $(call header_number,CELLAR_VERSION_MAJOR),0)
MINOR   := $(or $(call header_number,CELLAR_VERSION_MINOR),0)
PATCH   := $(or $(call header_number,CELLAR_VERSION_PATCH),0)
ABI     := $(or $(call header_number,CELLAR_ABI),0)
VERSION := $(MAJOR).$(MINOR).$(PATCH)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
SOURCE_ID := $(VERSION)$(if $(COMMIT), $(COMMIT))

OBJ_LIB  = $(SRC:src/%.c=$(B)/lib/%.o)
OBJ_DBG  = $(SRC:src/%.c=$(B)/dbg/%.o)
OBJ_SIM  = $(foreach m,$(MODULES),$(B)/sim/$(m).o)
# With what was found beside the compiler: two files are compiled a second time.
OBJ_LZ   = $(if $(filter off,$(LZ4)),$(OBJ_LIB),\
             $(patsubst $(B)/lib/base/pack.o,$(B)/lz/base/pack.o,$(OBJ_LIB)))
OBJ_MI   = $(if $(filter off,$(MIMALLOC)),$(OBJ_LZ),\
             $(patsubst $(B)/lib/base/mem.o,$(B)/mi/base/mem.o,$(OBJ_LZ)))
OBJ_SO   = $(if $(filter shared,$(MIMALLOC)),$(OBJ_MI),$(OBJ_LZ))
OBJ_GATE = $(GATE:src/%.c=$(B)/gate/%.o)
OBJ_MAIN = $(B)/gate/gate/main.o $(B)/gate/gate/replay_main.o
OBJ_BOTH = $(filter-out $(OBJ_MAIN),$(OBJ_GATE))
ID_SRC  := $(shell grep -l CELLAR_SOURCE_ID $(SRC) 2>/dev/null)
ID       = $(if $(filter $(ID_SRC) $(ID_SIM:.o=.c),$<),-DCELLAR_SOURCE_ID='"$(SOURCE_ID)"')
ID_SIM   = $(foreach m,$(MODULES),$(if $(filter src/$(m)/%,$(ID_SRC)),$(B)/sim/$(m).o))
SO       = libcellar.so.$(VERSION)

## all: static and shared library, build/cellar, build/cellar-replay (what `make` does)
all: lib $(if $(GATE),build/cellar)
lib: $(B)/libcellar.a $(B)/$(SO)
	$(call link,libcellar.a,libcellar.a)
	$(call link,$(SO),libcellar.so)

$(foreach k,lib mi dbg,$(ID_SRC:src/%.c=$(B)/$(k)/%.o)) $(ID_SIM): build/source-id
$(B)/lib/%.o: src/%.c
	$(say) CC $*
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) $(ID) -fno-lto -c -o $@ $<
$(B)/mi/%.o: src/%.c
	$(say) CC "$* (mimalloc)"
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) $(ID) -fno-lto $(MI_FLAGS) -c -o $@ $<
$(B)/lz/%.o: src/%.c
	$(say) CC "$* (lz4)"
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) -fno-lto $(LZ_FLAGS) -c -o $@ $<
$(B)/dbg/%.o: src/%.c
	$(say) CC "$* (debug)"
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) $(ID) $(LZ_FLAGS) $(call TEST_O,$(if $(SAN),,-O1) -g1) -DBASE_DEBUG=1 -c -o $@ $<
# One compilation a module: the headers are most of the work at -O1.
$(B)/sim/%.c: FORCE
	$(Q)mkdir -p $(@D); printf '#include "%s"\n' $(filter src/$*/%,$(SRC)) >$@.new; \
	  if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
$(OBJ_SIM): $(B)/sim/%.o: $(B)/sim/%.c
	$(say) CC "$* (sim)"
	$(Q)$(COMPILE) $(ID) $(LZ_FLAGS) $(call TEST_O,-g1) -I. -DBASE_DEBUG=1 -DBASE_SIM=1 -O1 -c -o $@ $<
$(B)/gate/%.o: src/%.c
	$(say) CC $*
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) -c -o $@ $<

# One object whose hidden names are local: a host's `base_alloc` and ours must not meet.
$(B)/cellar.o: $(OBJ_LIB)
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS) -nostdlib -r -o $@ $^
	$(Q)$(OBJCOPY) --localize-hidden $@
$(B)/libcellar.a: $(B)/cellar.o
	$(say) AR $@
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^
# The shared library may use mimalloc: libc comes first in lookup order, the host's malloc stays.
# The archive never does: that would replace malloc in whatever program links it.
$(B)/$(SO): $(OBJ_SO)
	$(say) LD $@
	$(Q)$(LINK) -shared -Wl,-soname,libcellar.so.$(ABI) $(if $(SAN),,-Wl$(comma)-z$(comma)defs) \
	  -Wl,-z,nodelete -Wl,-z,relro,-z,now -o $@ $^ $(MI_LIBS) $(LZ_LIBS) \
	  $(LDLIBS)
$(B)/cellar: $(B)/gate/gate/main.o $(OBJ_BOTH) $(OBJ_MI) $(MI_OBJ)
	$(say) LD $@
	$(Q)$(LINK) $(if $(STATIC),-static) -o $@ $^ $(MI_LIBS) $(LZ_LIBS) $(LDLIBS)
$(B)/cellar-replay: $(B)/gate/gate/replay_main.o $(OBJ_BOTH) $(OBJ_MI) $(MI_OBJ)
	$(say) LD $@
	$(Q)$(LINK) $(if $(STATIC),-static) -o $@ $^ $(MI_LIBS) $(LZ_LIBS) $(LDLIBS)

# MIMALLOC=object: one object without override, out of the distribution's source package.
$(B)/mimalloc.o: build/mimalloc/src/static.c
	$(say) CC mimalloc
	$(Q)$(CC) $(CFLAGS) -std=gnu11 -fPIC -pthread -DNDEBUG -Ibuild/mimalloc/include -c -o $@ $<
build/mimalloc/src/static.c:
	$(Q)mkdir -p build/mimalloc && cd build/mimalloc && \
	  apt-get source --download-only -q mimalloc || { \
	  echo "MIMALLOC=object needs a deb-src line in apt's sources, or MIMALLOC_OBJ=path"; exit 2; }
	$(Q)cd build/mimalloc && tar -xf mimalloc_*.orig.tar.* --strip-components=1 && \
	  touch -c src/static.c
$(B)/mi/base/mem.o: $(if $(MIMALLOC_OBJ),,$(if $(MI_OBJ),build/mimalloc/src/static.c))
build/cellar: $(B)/cellar $(B)/cellar-replay
	$(call link,cellar,cellar)
	$(call link,cellar-replay,cellar-replay)
.PHONY: build/cellar build/sim

# Tests: each tests/test_*.c is one program on the debug objects (asserts, lock ranks); names that
# start with test_sim_ on the simulation's; test_api_ a second time on the drop-in.
# T= takes the name in every form that a report prints: gate_replay, test_gate_replay.sh,
# dist/test_api_load, tests/test_l1_big.c, examples/read_through, simulation.
TEST_NAMES := $(if $(T),$(patsubst test_%,%,$(basename $(notdir $(T)))),*)
TEST_FILES  = $(wildcard $(foreach f,tests/test_$(1).c tests/test_$(1).sh tests/examples/$(1).c \
                $(patsubst %_cc,tests/examples/%.cc,$(filter %_cc,$(1))),$(f))) \
              $(filter simulation,$(1))
NO_TEST    := $(strip $(if $(T),$(foreach t,$(T),$(if $(strip $(call TEST_FILES,$(patsubst \
                test_%,%,$(basename $(notdir $(t)))))),,$(t)))))
TESTS_C    := $(wildcard $(TEST_NAMES:%=tests/test_%.c))
TESTS_SIM  := $(if $(DROPIN),,$(filter tests/test_sim_%,$(TESTS_C)))
TESTS_API  := $(filter tests/test_api_%,$(TESTS_C))
# A program of one thread has nothing for TSan to see, and takes it fifty times as long; it says so
# itself, and a plain build holds it to that (tests/t.h). By name it runs all the same.
ONE_THREAD := $(if $(T),,$(if $(findstring thread,$(SAN)),$(shell \
              grep -l '^T_ONE_THREAD;' tests/test_*.c)))
# SIGBUS that meets an atomic store finds TSan's runtime in it, with a lock that it takes anew for
# the first atomic of the handler: the thread waits for itself.
NOT_TSAN   := $(if $(T),,$(if $(findstring thread,$(SAN)),tests/test_api_sigbus.c))
TESTS_LIB  := $(filter-out tests/test_sim_% $(ONE_THREAD) $(NOT_TSAN),$(TESTS_C))
TESTS_SH   := $(if $(SAN)$(DROPIN)$(PLAIN),,$(wildcard $(TEST_NAMES:%=tests/test_%.sh)))
EXAMPLES   := $(wildcard $(TEST_NAMES:%=tests/examples/%.c))
EXAMPLESXX := $(wildcard $(if $(T),$(patsubst %_cc,tests/examples/%.cc,$(filter %_cc,\
                $(TEST_NAMES))),tests/examples/*.cc))
HAVE_CXX   := $(shell command -v $(firstword $(CXX)) 2>/dev/null)
HAVE_DIST  := $(if $(SAN),,$(HEADERS))

RUN_C    = $(TESTS_LIB:tests/%.c=$(B)/t/%) $(TESTS_SIM:tests/%.c=$(B)/t/%)
# `make test` does a quarter of the repetitions and a sample of the api tests on the drop-in, so that
# it ends in two to three minutes. SHARE=1 does all: a lane of `make check`, and every other suite.
SHARE    ?= $(if $(SAN)$(DROPIN)$(PLAIN),1,4)
SAMPLED   = $(filter-out 1,$(SHARE))
DIST_SAMPLE = bad_input disk inventory load process semantics struct_sizes
OF_DIST  = $(if $(and $(SAMPLED),$(if $(T),,yes)),$(filter $(DIST_SAMPLE:%=tests/test_api_%.c),$(TESTS_API)),$(TESTS_API))
# At the caller's level of optimization it takes a processor for twelve seconds.
DIST_LEVEL = $(call TEST_O,$(if $(SAMPLED),-O0) -g0)
DIST_O   = $(B)/dist/cellar$(if $(SAMPLED),-O0).o
RUN_DIST = $(if $(HAVE_DIST),$(OF_DIST:tests/%.c=$(B)/dist/%))
# The C++ library is not instrumented: under MSan whatever it returns would be called uninitialised.
WHY_NO_CXX = $(if $(findstring memory,$(SAN)),the C++ library knows no MSan,$(if $(HAVE_CXX),,\
  no C++ compiler))
# gcc 12's ASan takes no care of its own locks in fork: a child forked while another thread starts
# may wait for ever. clang's does.
WHY_NO_FORK = $(if $(findstring address,$(SAN)),$(if $(findstring clang,$(CC)),,\
  the ASan of gcc may hang in a child))
RUN_EX   = $(filter-out $(if $(WHY_NO_FORK),%/fork_server),$(EXAMPLES:tests/%.c=$(B)/%)) \
           $(if $(WHY_NO_CXX),,$(EXAMPLESXX:tests/%.cc=$(B)/%_cc))

# A test of a module of floors 0 to 2 gets only that module and the floors below it: test_l1_x links
# base, stats and l1. All others get the whole library.
BELOW_base  = base
BELOW_stats = base stats
LOW_MODULES = l1 l2 guard limit lock wheel
module_of   = $(word 2,$(subst _, ,$(1)))
below_of    = $(or $(BELOW_$(1)),$(if $(filter $(LOW_MODULES),$(1)),base stats $(1)),all)
only        = $(foreach m,$(1),$(filter $(B)/dbg/$(m)/%,$(OBJ_DBG)))
define test_archive
$(B)/dbg-$(1).a: $$(if $$(filter all,$$(call below_of,$(1))),$$(OBJ_DBG),\
                   $$(call only,$$(call below_of,$(1))))
	$$(Q)rm -f $$@
	$$(Q)$$(AR) rcs $$@ $$^
endef
$(foreach m,base stats $(LOW_MODULES) all,$(eval $(call test_archive,$(m))))
test_lib    = $(if $(DROPIN),$(B)/dropin.o,\
              $(B)/dbg-$(if $(filter all,$(call below_of,$(1))),all,$(1)).a)

# Half of the time of `make test` went into optimizing tests: they get less of it than the library
# unless the caller says how, and none where no loop of their own is long: 0.12 s of compiler a
# test instead of 0.5. The second programs of the api tests are callers without any, and without
# words for a debugger, which are half of what is written and linked for them. The library below the
# tests and the simulation has functions and lines for a back trace and no variables (a sixth of its
# compiler's time, half of each program); CFLAGS="-O0 -g" brings them.
TEST_O    = $(if $(filter file,$(origin CFLAGS)),$(1))
TESTS_BUSY = bench_% $(addprefix l1_,adaptive big bounded_work budget expiry forged fork linear \
             model pins resize scan split torn worth) l2_crash l2_damage l2_old_values \
             limit_oracle limit_table load_storm lock_threads lin_%
TEST_LEVEL = $(if $(filter $(TESTS_BUSY:%=test_%),$(1)),-O1,-O0)
# DROPIN=1 puts the amalgamation under the whole suite: its private names are hidden instead of
# static, so that tests of one module find them.
$(B)/dropin.o: dist/cellar.c dist/cellar.h
	$(say) CC "dist/cellar.c (private names hidden)"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=c11 -DBASE_DEBUG=1 -fPIC $(WARN) $(CFLAGS) $(SAN_FLAGS) $(LZ_FLAGS) \
	  '-DCELLAR_PRIVATE=__attribute__((visibility("hidden")))' -c -o $@ $<
$(B)/libsim.a: $(OBJ_SIM)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^
$(B)/t/test_sim_%: tests/test_sim_%.c $(B)/libsim.a
	$(say) TEST test_sim_$*
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) $(call TEST_O,-O1) -I. -DBASE_DEBUG=1 -DBASE_SIM=1 -MT $@ -MF $@.d -o $@ $< \
	  $(B)/libsim.a $(LDFLAGS) -lm $(LZ_LIBS) $(LDLIBS)
.SECONDEXPANSION:
$(B)/t/%: tests/%.c $$(call test_lib,$$(call module_of,$$*))
	$(say) TEST $*
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) $(call TEST_O,$(call TEST_LEVEL,$*) $(if $(SAN),,-g0)) -I. -DBASE_DEBUG=1 -MT $@ -MF $@.d -o $@ $< $(filter %.a %.o,$^) \
	  $(if $(DROPIN),-Wl$(comma)-z$(comma)muldefs) $(LDFLAGS) -lm $(LZ_LIBS) $(LDLIBS)
$(B)/dist/%: tests/%.c $(DIST_O)
	$(say) TEST "$* (drop-in)"
	$(Q)$(CC) -D_GNU_SOURCE -Idist -Iinclude -I. $(CPPFLAGS) -std=c11 -pthread $(WARN) $(CFLAGS) $(SAN_FLAGS) \
	  $(call TEST_O,-O0 -g0) -MMD -MP -MT $@ -MF $@.d -o $@ $< $(DIST_O) $(LDFLAGS) -lm \
	  $(LDLIBS)
$(DIST_O): dist/cellar.c dist/cellar.h
	$(say) CC dist/cellar.c
	$(Q)mkdir -p $(@D)
	$(Q)echo '$(CPPFLAGS) -std=c11 $(WARN) $(CFLAGS) $(SAN_FLAGS) $(DIST_LEVEL) ' >$@.words
	$(Q)$(CC) $(CPPFLAGS) -std=c11 $(WARN) $(CFLAGS) $(SAN_FLAGS) $(DIST_LEVEL) -c -o $@ $< \
	  2>$@.said; \
	  status=$$?; cat $@.said >&2; exit $$status
# A build that only serves a check compiles the library once: its examples link what its tests do.
LEAN      = $(strip $(SAN)$(DROPIN)$(PLAIN))
EX_LIB    = $(if $(LEAN),$(call test_lib,all),$(B)/libcellar.a)
EX_LIBS   = $(if $(LEAN),$(LZ_LIBS))
$(B)/examples/%_cc: tests/examples/%.cc $(EX_LIB)
	$(say) CXX examples/$*
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) -Iinclude $(CPPFLAGS) -pthread -Wall -Wextra $(CXXFLAGS) $(SAN_FLAGS) \
	  -MMD -MP -MT $@ -MF $@.d -o $@ $< $(EX_LIB) $(EX_LIBS) $(LDFLAGS) $(LDLIBS)
$(B)/examples/%: tests/examples/%.c $(EX_LIB)
	$(say) CC examples/$*
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -Iinclude $(CPPFLAGS) -std=c11 -pthread $(WARN) $(CFLAGS) $(SAN_FLAGS) \
	  -MMD -MP -MT $@ -MF $@.d -o $@ $< $(EX_LIB) $(EX_LIBS) $(LDFLAGS) $(LDLIBS)

# The seed of everything random in test and check is a checksum of the library: a commit that passed
# passes again, and each change of it meets schedules that nobody has seen. SEED=random draws one.
SEED_OF_TREE   = $(shell cat $(sort $(wildcard src/*/*.c src/*/*.h include/*.h)) | cksum | \
                   cut -d' ' -f1)
SEED_AT_RANDOM = $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
SEED_GIVEN    := $(SEED)
ifeq ($(SEED_GIVEN),)
override SEED := $(SEED_OF_TREE)
else ifeq ($(SEED_GIVEN),random)
override SEED := $(SEED_AT_RANDOM)
endif
tell_seed      = @echo "seed: $(SEED) (again: SEED=$(SEED))"

# fork tests start threads in the child, which the thread sanitizer allows only on request.
export TSAN_OPTIONS ?= die_after_fork=0
export CC CXX AR SEED AUDIT T_WRAP
export CELLAR_BUILD = $(B)
export CELLAR_BIN = $(B)/cellar
export CELLAR_SO = $(B)/$(SO)
export CELLAR_A = $(B)/libcellar.a
export CELLAR_DIST = $(DIST_O)

NEED_LIB = $(strip $(if $(LEAN),,$(if $(T),$(TESTS_SH) $(TESTS_API),yes)))
RUN_SIM  = $(if $(SAN)$(DROPIN)$(PLAIN),,$(if $(filter *,$(TEST_NAMES))$(filter simulation,\
             $(TEST_NAMES)),$(wildcard tests/sim/main.c)))
# These wait, for time-outs and disks, longer than they work: they have a worker of their own. What
# compares times to a hundredth starts beside the stillest of them.
TESTS_WAIT = bench_disk packaging_runner api_sigbus api_fork_inside api_disk api_keep packaging_docs \
             bench_limit load_storm bench_program
waits_of   = $(foreach t,$(TESTS_WAIT:%=/test_%),$(filter %$(t) %$(t).sh,$(1)))
WAITING    = $(call waits_of,$(TESTS_SH) $(RUN_C) $(RUN_DIST))
WORKING    = $(filter-out $(WAITING),$(filter %/test_bench_harness,$(RUN_C)) $(RUN_SIM) $(TESTS_SH) \
             $(RUN_DIST) $(filter-out %/test_bench_harness,$(RUN_C)))
items      = $(foreach i,$(1),$(if $(filter tests/sim/%,$(i)),'t|simulation|build/sim --work $(if $(SAMPLED),1,3)',\
             $(if $(filter $(B)/dist/%,$(i)),'t|dist/$(notdir $(i))|$(i)',$(i))))
# What takes longest in one piece comes first, here and among the items of test-now.
test-programs: $(if $(RUN_DIST),$(DIST_O)) $(if $(RUN_SIM),build/sim) $(RUN_C) $(RUN_DIST) $(RUN_EX) \
  $(if $(NEED_LIB),lib $(if $(GATE),build/cellar) $(if $(TESTS_SH),dropin man))
## test: build and run all tests (T=name one of them, SAN=address|undefined|thread, SEED=n|random,
## AUDIT=1, SHARE=1 all repetitions)
#
# The drop-in is made before, and not asked about again: to what waits for a file that is being made
# or looked at, make comes back only after it has been through all others, and the longest
# compilation of all would start last.
test: names
	$(Q)sh src/deps.sh build
	$(if $(RUN_DIST),$(Q)$(MAKE) --no-print-directory dropin)
	$(Q)$(MAKE) --no-print-directory $(if $(RUN_DIST),-o build/dropin-words) test-now SEED=$(SEED)
names:
	$(if $(NO_TEST),@$(AWK) -v names='$(NO_TEST)' -f tests/nearest.awk $(foreach f,$(wildcard \
	  tests/test_*.c tests/test_*.sh tests/examples/*.c*) tests/simulation,'$(f)'))
test-now: names test-programs
	$(tell_seed)
	$(Q)T_SHARE=$(SHARE) sh tests/run.sh -l $(or $(T_LIMIT),300) -o $(B)/log \
	  $(call items,$(WAITING)) 'w|' $(call items,$(WORKING)) \
	  $(foreach e,$(RUN_EX),'x|examples/$(notdir $(e))|$(e)') \
	  $(if $(EXAMPLES),$(if $(WHY_NO_FORK),'s|examples/fork_server|$(strip $(WHY_NO_FORK))')) \
	  $(if $(WHY_NO_CXX),$(foreach e,$(EXAMPLESXX),'s|$(e)|$(strip $(WHY_NO_CXX))')) \
	  $(foreach t,$(ONE_THREAD),'s|$(t:tests/%.c=%)|has one thread') \
	  $(foreach t,$(NOT_TSAN),'s|$(t:tests/%.c=%)|a signal inside an atomic operation stops TSan')

# The schedule driver: tests/sim/ and every library source, built to yield at each seam.
SIM_SRC := $(wildcard tests/sim/*.c)
$(B)/sim/main/%.o: tests/sim/%.c
	$(say) CC "sim/$*"
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) -I. -DBASE_DEBUG=1 -DBASE_SIM=1 -O1 -c -o $@ $<
$(B)/simdrv: $(SIM_SRC:tests/sim/%.c=$(B)/sim/main/%.o) $(B)/libsim.a
	$(say) LD $@
	$(Q)$(LINK) -o $@ $^ -lm $(LZ_LIBS) $(LDLIBS)
build/sim: $(B)/simdrv
	$(call link,simdrv,sim)

# bench, bench-report, guard: the program of bench/ with the library beside its peers.
include $(wildcard bench/bench.mk)
## bench-peers: install what the peers need, say what is left out, then bench with all of them
bench-peers:
	$(Q)sh src/deps.sh bench
	$(Q)$(MAKE) --no-print-directory bench-drivers
	$(Q)$(if $(JSON)$(SUITE),:,if [ -f $(BENCH_B)/peers.jsonl ]; then mv $(BENCH_B)/peers.jsonl $(BENCH_B)/peers.jsonl.before; fi)
	$(Q)$(MAKE) --no-print-directory bench ALL_SUBJECTS=1 MOST=$(or $(MOST),$(if $(filter 1,$(FULL)),,1800)) SUITE="$(or $(SUITE),$(BENCH_PEER_SUITES))" \
	  JSON=$(or $(JSON),$(BENCH_B)/peers.jsonl)

# The drop-in. The header text, the licence and the file list decide it, and the source id, which
# stands in a file of its own so that a new commit makes a new pair.
UTHASH   ?= $(if $(UTHASH_DIR),$(UTHASH_DIR)/uthash.h,$(shell echo '$(hash)include <uthash.h>' | \
  $(CC) $(CPPFLAGS) -E - 2>/dev/null | sed -n 's/^$(hash) 1 "\(.*uthash\.h\)".*/\1/p' | head -n 1))
FOLD      = $(AWK) -v version='$(VERSION)' -v source_id='$(SOURCE_ID)' -v uthash='$(UTHASH)' \
            -v headers='$(HEADERS)' -v src='$(filter-out src/base/sim.c,$(SRC))' \
            -v lines='$(LINES_WANTED)' -f src/amalgamate.awk
LINES_WANTED = $(if $(filter 1,$(LINES)),1)
DROPIN_WORDS = $(SOURCE_ID) $(UTHASH) $(LINES_WANTED)
keep_if_same = $(Q)mkdir -p build; echo '$(1)' | cmp -s - $@ || echo '$(1)' >$@
build/source-id: FORCE
	$(call keep_if_same,$(SOURCE_ID))
build/dropin-words: FORCE
	$(call keep_if_same,$(DROPIN_WORDS))
DROPIN_FROM = $(SRC) $(wildcard src/*/*.h) $(HEADERS) src/amalgamate.awk LICENSE build/dropin-words
dist/cellar.h: $(DROPIN_FROM)
	$(say) GEN $@
	$(Q)mkdir -p dist
	$(Q)$(FOLD) -v what=h >$@.tmp && mv $@.tmp $@
dist/cellar.c: $(DROPIN_FROM)
	$(say) GEN $@
	$(Q)mkdir -p dist
	$(Q)$(FOLD) -v what=c >$@.tmp && mv $@.tmp $@
dropin: dist/cellar.h dist/cellar.c

# Documentation out of the contracts; the date is the commit's, so that the bytes are too.
EPOCH   := $(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),0)
DATE     = $(shell date -u -d @$(EPOCH) '+%B %d, %Y' 2>/dev/null | sed 's/ 0/ /')
APIDOC   = $(AWK) -v out=dist/doc -v symbols=tests/symbols.txt -v version='$(VERSION)' \
           -v date='$(DATE)' -v readme='$(wildcard README.md)' \
           -f src/apidoc.awk
HELPS     = $$($(B)/cellar --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
dist/doc/done: $(HEADERS) src/apidoc.awk tests/symbols.txt $(wildcard README.md) $(if $(GATE),$(B)/cellar)
	$(say) GEN dist/doc
	$(Q)rm -rf dist/doc && mkdir -p dist/doc/man1 dist/doc/man3 dist/doc/man7
	$(Q)$(APIDOC) -v mode=man $(HEADERS)
	$(Q)$(APIDOC) -v mode=html $(HEADERS)
	$(if $(GATE),$(Q){ $(B)/cellar --help; for c in $(HELPS); do echo "== $$c"; \
	  $(B)/cellar $$c --help; done; } | $(APIDOC) -v mode=program)
	$(Q)touch $@
## man: man pages and cellar-api.html in dist/doc, out of the contracts in include/
man: dist/doc/done

## dist: dist/cellar.h and dist/cellar.c (the drop-in), documentation, tar.gz with checksum
dist: dropin man
	$(say) GEN dist/cellar-$(VERSION).tar.gz
	$(Q)rm -rf build/tar && mkdir -p build/tar/cellar-$(VERSION)/dist
	$(Q){ git ls-files -co --exclude-standard 2>/dev/null || find . -type f ! -path './build/*' \
	  ! -path './dist/*'; } | tar -cf - -T - | tar -xf - -C build/tar/cellar-$(VERSION)
	$(Q)cp dist/cellar.h dist/cellar.c build/tar/cellar-$(VERSION)/dist
	$(Q)tar --sort=name --mtime=@$(EPOCH) --owner=0 --group=0 --numeric-owner -C build/tar \
	  -cf - cellar-$(VERSION) | gzip -9n >dist/cellar-$(VERSION).tar.gz
	$(Q)rm -rf build/tar
	$(Q)cd dist && sha256sum cellar.h cellar.c cellar-$(VERSION).tar.gz >SHA256SUMS && cat SHA256SUMS

# Installation. LIBDIR and its like may be given below PREFIX or absolute; CMake's paths are worked
# out from them, because a fixed "three folders up" breaks with a multiarch LIBDIR.
PREFIX   ?= /usr/local
LIBDIR   ?= lib
INCDIR   ?= include
BINDIR   ?= bin
MANDIR   ?= share/man
DOCDIR   ?= share/doc/cellar
below     = $(if $(filter /%,$(1)),$(1),$(PREFIX)/$(1))
I_LIB     = $(call below,$(LIBDIR))
I_INC     = $(call below,$(INCDIR))
I_BIN     = $(call below,$(BINDIR))
I_MAN     = $(call below,$(MANDIR))
I_DOC     = $(call below,$(DOCDIR))
I_CMAKE   = $(I_LIB)/cmake/cellar
relative  = $(shell realpath -m --relative-to='$(I_CMAKE)' '$(1)')
SAME_UP_TO = $(if $(filter 0,$(MAJOR)),$(MAJOR).$(MINOR),$(MAJOR))

define PC_FILE
prefix=$(PREFIX)
libdir=$(I_LIB)
includedir=$(I_INC)

Name: cellar
Description: in-process cache with one hard memory budget
Version: $(VERSION)
Libs: -L"$${libdir}" -lcellar
Libs.private: -pthread
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
    INTERFACE_LINK_LIBRARIES Threads::Threads)
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
# Only here: what is exported is worked out for each line of each recipe.
install: private export PC_TEXT = $(PC_FILE)
install: private export CMAKE_CONFIG_TEXT = $(CMAKE_CONFIG)
install: private export CMAKE_VERSION_TEXT = $(CMAKE_VERSION)

## install: library, headers, program, man pages, pkg-config and CMake files
## (PREFIX, LIBDIR, INCDIR, BINDIR, MANDIR, DESTDIR)
install: lib man $(if $(GATE),build/cellar)
	$(Q)mkdir -p '$(DESTDIR)$(I_LIB)/pkgconfig' '$(DESTDIR)$(I_CMAKE)' '$(DESTDIR)$(I_INC)' \
	  '$(DESTDIR)$(I_BIN)' '$(DESTDIR)$(I_MAN)' '$(DESTDIR)$(I_DOC)'
	$(Q)install -m 644 $(HEADERS) '$(DESTDIR)$(I_INC)'
	$(Q)install -m 644 $(B)/libcellar.a '$(DESTDIR)$(I_LIB)'
	$(Q)install -m 755 $(B)/$(SO) '$(DESTDIR)$(I_LIB)'
	$(Q)ln -sf $(SO) '$(DESTDIR)$(I_LIB)/libcellar.so.$(ABI)'
	$(Q)ln -sf libcellar.so.$(ABI) '$(DESTDIR)$(I_LIB)/libcellar.so'
	$(Q)printf '%s\n' "$$PC_TEXT" >'$(DESTDIR)$(I_LIB)/pkgconfig/cellar.pc'
	$(Q)printf '%s\n' "$$CMAKE_CONFIG_TEXT" >'$(DESTDIR)$(I_CMAKE)/cellar-config.cmake'
	$(Q)printf '%s\n' "$$CMAKE_VERSION_TEXT" >'$(DESTDIR)$(I_CMAKE)/cellar-config-version.cmake'
	$(if $(GATE),$(Q)install -m 755 $(B)/cellar '$(DESTDIR)$(I_BIN)')
	$(Q)for n in 1 3 7; do mkdir -p '$(DESTDIR)$(I_MAN)'/man$$n && for f in dist/doc/man$$n/*.$$n; do \
	  [ ! -f "$$f" ] || install -m 644 "$$f" '$(DESTDIR)$(I_MAN)'/man$$n || exit 1; done; done
	$(Q)install -m 644 LICENSE dist/doc/cellar-api.html '$(DESTDIR)$(I_DOC)'
	@echo "installed below $(DESTDIR)$(PREFIX)"

## uninstall: remove exactly what install put there (same variables)
uninstall: man
	$(Q)rm -f $(foreach h,$(HEADERS),'$(DESTDIR)$(I_INC)/$(notdir $(h))') \
	  $(foreach f,libcellar.a libcellar.so libcellar.so.$(ABI) $(SO) pkgconfig/cellar.pc \
	  cmake/cellar/cellar-config.cmake cmake/cellar/cellar-config-version.cmake,\
	  '$(DESTDIR)$(I_LIB)/$(f)') \
	  '$(DESTDIR)$(I_BIN)/cellar' '$(DESTDIR)$(I_DOC)/LICENSE' '$(DESTDIR)$(I_DOC)/cellar-api.html'
	$(Q)cd dist/doc && for f in man?/*; do rm -f '$(DESTDIR)$(I_MAN)'/"$$f"; done
	$(Q)-rmdir '$(DESTDIR)$(I_CMAKE)' '$(DESTDIR)$(I_DOC)' 2>/dev/null || true

# Checks. A lane is a command that ends with a closing line (t), or whose exit status counts (x).
ALL_FILES = $(sort $(wildcard src/*/*.c src/*/*.h include/*.h))
## floors: who includes whom, SRC complete, no conditional outside base, banned and misplaced calls
floors:
	$(Q)$(AWK) -v listed='$(SRC)' -f src/floors.awk src/floors.txt $(ALL_FILES)
## form: floors, and every line longer than 100
form:
	$(Q)$(AWK) -v form=1 -v listed='$(SRC)' -f src/floors.awk src/floors.txt $(ALL_FILES)
## language: words, function comments, paragraphs and essays that break the rules of plain English
LANGUAGE_FILES = $(shell find src include tests bench -name '*.[ch]' -o -name '*.cc' -o \
  -name '*.md' -o -name '*.sh' -o -name '*.awk' -o -name '*.mk') README.md Makefile
language:
	$(Q)$(AWK) -f src/tools/language.awk $(LANGUAGE_FILES)
## contracts: every public function has its contract, an example and a line in tests/symbols.txt
contracts:
	$(Q)$(AWK) -v mode=check -v symbols=tests/symbols.txt -f src/apidoc.awk $(HEADERS)
## symbols: exported names of the shared library, the archive and the drop-in against the list
symbols: lib dropin
	$(Q)sh tests/test_packaging_symbols.sh
## deps: look for what is missing and, as root, install it (GROUP=build|test|check|bench|torture)
GROUP ?= build
deps:
	$(Q)sh src/deps.sh $(GROUP)
## thread-safety: what clang knows about locks: guarded fields, ranks, order
thread-safety:
	$(Q)$(CLANG) $(CPP_OWN) $(CPPFLAGS) -std=c11 -DBASE_DEBUG=1 -DCELLAR_SOURCE_ID='""' \
	  -Wthread-safety -Wthread-safety-beta -Werror -fsyntax-only $(SRC)
CLANG    ?= $(or $(shell command -v clang-19),$(shell command -v clang))

# Below a script no make shares the jobs of the first one: each says how many.
SUITE_IN  = $(MAKE) -j$(CPUS) --no-print-directory test-now T= T_LIMIT=1200 NOLINK=1 SHARE=1
BUILD_OF  = $(MAKE) -j$(CPUS) --no-print-directory test-programs NOLINK=1 SHARE=1
# gcc 12's thread sanitizer does not start where address space is randomised over 28 bits.
NO_ASLR  := $(shell [ "$$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0)" -gt 28 ] && \
              echo setarch -R)
LANES_QUICK = 'x|floors|$(MAKE) -s floors' 'x|contracts|$(MAKE) -s contracts' \
  't|symbols|$(MAKE) -s symbols' 't|install|sh tests/test_packaging_install.sh' \
  't|drop-in: one cell|QUICK=1 sh tests/slow_packaging_dropin.sh'
# The suite that does all repetitions runs on a machine that has just booted: each program finds
# clocks that began three seconds ago, where the kernel lets a time name space be made.
YOUNG    := $(shell sh tests/young.sh true >/dev/null 2>&1 && echo sh tests/young.sh)
TSAN_CC  := $(if $(wildcard /usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.tsan*),\
              $(shell command -v clang-19))
TSAN_CC  := $(strip $(TSAN_CC))
TSAN_WORDS = $(if $(TSAN_CC),CC=$(TSAN_CC) CXX=$(call cxx_of,$(TSAN_CC)))
LANES_AT_ONCE ?= 2
PROOF    := $(if $(wildcard tests/slow_l2_proof.sh),l2_crash l2_kill l2_damage l2_old_values \
              l2_expiry cache_kill) \
            $(if $(wildcard tests/slow_guard_bloom.sh),guard_bloom) \
            $(if $(wildcard tests/slow_api_clear.sh),api_views)
# First what is short or keeps every processor busy alone, builds above all: of two lanes that run
# beside one another, none may build what the other uses. Then two at a time, the longest first, so
# that a lane which has work for one processor leaves the other to its neighbour. None measures
# time: the guard counts instructions.
LANES     = 'x|floors|$(MAKE) -s floors' 'x|contracts|$(MAKE) -s contracts' \
  't|symbols|$(MAKE) -s symbols' 't|install|sh tests/test_packaging_install.sh' \
  $(if $(PROOF),'x|build: proof|$(BUILD_OF) T="$(PROOF)"') \
  'x|build: all repetitions|$(BUILD_OF) T=' \
  'x|build: ASan + UBSan|$(BUILD_OF) SAN=address$(comma)undefined' \
  'x|build: TSan|$(BUILD_OF) SAN=thread $(TSAN_WORDS)' 'j|$(LANES_AT_ONCE)' \
  $(if $(SIM_SRC),'t|simulation|sh tests/sim/run.sh') \
  $(foreach s,$(wildcard tests/slow_*.sh),'t|$(notdir $(s))|sh $(s)') \
  't|suite: ASan + UBSan|$(SUITE_IN) SAN=address$(comma)undefined' \
  't|suite: all repetitions$(if $(YOUNG),$(comma) 3 s after boot)|$(SUITE_IN) T_WRAP="$(YOUNG)"' \
  $(if $(YOUNG),,'s|suite: 3 s after boot|no time name spaces here') \
  't|suite: TSan|$(SUITE_IN) SAN=thread $(TSAN_WORDS) T_WRAP="$(NO_ASLR)"' \
  $(if $(wildcard tests/model/run.sh),'t|models|sh tests/model/run.sh') \
  $(if $(CLANG),'x|lock facts (clang)|$(MAKE) -s thread-safety','s|lock facts (clang)|no clang') \
  $(if $(wildcard bench/guard.c),'t|guard|$(MAKE) -s guard')
export CELLAR_SIM = build/sim

## check: floors, contracts, lock facts, drop-in, headers, sanitizers, simulation, models, guard
## (QUICK=1: floors, contracts, symbols, install, one drop-in cell)
check:
	$(Q)sh src/deps.sh check
	$(Q)$(MAKE) --no-print-directory check-now SEED=$(SEED)
check-now: lib dropin man $(if $(GATE),build/cellar) $(if $(SIM_SRC),build/sim)
	$(tell_seed)
	$(Q)sh tests/run.sh -j 1 -l 2700 -o build/check-log \
	  $(if $(filter 1,$(QUICK)),$(LANES_QUICK),$(LANES))
## check-matrix: what check leaves out: all drop-in cells and switches, the suite on the drop-in,
## mutants, analysers, MSan, valgrind, aarch64
check-matrix:
	$(Q)sh src/deps.sh check
	$(Q)$(MAKE) --no-print-directory matrix-now \
	  SEED=$(if $(SEED_GIVEN),$(SEED),$(SEED_AT_RANDOM))
matrix-now: lib dropin man $(if $(GATE),build/cellar) $(if $(SIM_SRC),build/sim)
	$(tell_seed)
	$(Q)sh tests/run.sh -j 1 -l 3600 -o build/matrix-log $(MATRIX)
# Twenty times slower: what reads and frees memory in many ways; not storms, models and speeds,
# which the sanitizers see.
T_VALGRIND = base_* stats_* l1_audit l1_big l1_entries l1_expiry l1_fork l1_keys l1_many l1_owner \
             l1_pins l1_resize l1_runs l1_scan cache_* guard_* lock_keys limit_calls limit_snapshot\
             l2_form l2_open l2_store fault_* api_bad_input api_semantics api_views api_process \
             api_lease api_load api_memo api_disk api_listen api_struct_sizes lin_checker
have      = $(if $(shell command -v $(1)),'$(4)|$(2)|$(3)','s|$(2)|no $(1)')
M_GCC     = CC=gcc CFLAGS=-O2 DROPIN=1
M_CLANG   = CC=clang CXX=clang++ CFLAGS="-O2 -DNDEBUG" DROPIN=1
M_FORTIFY = CFLAGS="-O2 -D_FORTIFY_SOURCE=2"
M_MSAN    = CC=clang-19 CXX=clang++-19 SAN=memory
M_PLAIN   = PLAIN=1 T="$(T_VALGRIND)"
MATRIX    = 'x|build: drop-in, gcc|$(BUILD_OF) $(M_GCC)' \
  $(call have,clang,build: drop-in$(comma) clang,$(BUILD_OF) $(M_CLANG),x) \
  'x|build: fortified|$(BUILD_OF) $(M_FORTIFY)' \
  $(call have,clang-19,build: MSan,$(BUILD_OF) $(M_MSAN),x) \
  'x|build: for valgrind|$(BUILD_OF) $(M_PLAIN)' 'j|$(LANES_AT_ONCE)' \
  't|drop-in: all cells and switches|FULL=1 sh tests/slow_packaging_dropin.sh' \
  $(call have,valgrind,suite: valgrind,$(SUITE_IN) T_WRAP="valgrind -q --error-exitcode=99 \
    --leak-check=full --errors-for-leak-kinds=definite" $(M_PLAIN),t) \
  $(if $(SIM_SRC),'t|mutants|sh tests/sim/mutants.sh' \
  't|simulation: a seed of its own|build/sim --check 60') \
  $(foreach s,$(wildcard tests/matrix_*.sh),'t|$(notdir $(s))|sh $(s)') \
  't|suite on the drop-in: gcc|$(SUITE_IN) $(M_GCC)' \
  $(call have,clang,suite on the drop-in: clang,$(SUITE_IN) $(M_CLANG),t) \
  't|suite: fortified|$(SUITE_IN) $(M_FORTIFY)' \
  $(call have,clang-19,suite: MSan,$(SUITE_IN) $(M_MSAN),t)

## run: install what is missing, build, run the tour of /usr/share (ARGS="..." another command)
run:
	$(Q)sh src/deps.sh build
	$(Q)$(MAKE) --no-print-directory all
	$(Q)build/cellar $(or $(ARGS),tour /usr/share)
# For scripts: the folder of a variant (make -s where SAN=address); the seed of test and check.
where:
	@echo $(B)
seed:
	@echo $(SEED)
## clean: remove build/ and dist/
clean:
	rm -rf build dist
## help: this table
help:
	@$(AWK) '/^## [a-z-]+: / { \
	  name = $$2; sub(/:$$/, "", name); line = $$0; sub(/^## [a-z-]+: /, "", line); \
	  printf "make %-14s %s\n", name, line; next } \
	  /^## / { print "                    " substr($$0, 4) }' Makefile bench/bench.mk
	@echo
	@$(AWK) '/^# VARIABLES/ { on = 1 } /^# NEEDS/ { exit } on { print substr($$0, 3) }' Makefile

FORCE:
-include $(wildcard $(B)/*/*.d $(B)/*/*/*.d $(B)/*/*/*/*.d)
.PHONY: all lib test test-now test-programs names bench bench-peers bench-report guard dropin \
  man dist install uninstall floors form language contracts symbols deps thread-safety check \
  check-now check-matrix matrix-now run where seed clean help FORCE
