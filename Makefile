# SPDX-License-Identifier: MIT
#
# cellar: one Makefile, no configure step. `make help` prints the targets.
#
# PICTURE    src/*/*/*.c -> build/<variant>/{lib,dbg,sim,cli}/*.o -> libcellar.a .so, cellar, tests
#            include/*.h + SRC -> dist/cellar.h, .c, dist/cellar_all.h, .c (the drop-in)
# FILES      src/tools/mk/: optional.mk (what is linked, hardening),
#            dropin.mk (drop-in, man pages, dist), install.mk, test.mk, python.mk, check.mk (form, sanitizers, models, matrix),
#            proof.mk (coverage, mutation, torture), bench.mk
# VARIANT    A checksum of compiler and flags names the build folder. A changed flag therefore
#            never mixes with stale objects. build/cellar and its like link to the latest variant.
# VARIABLES  CC CXX AR OBJCOPY CFLAGS CPPFLAGS LDFLAGS LDLIBS come from the caller; the Makefile
#            adds to them and replaces none. PREFIX LIBDIR INCDIR BINDIR MANDIR DESTDIR for install.
#            LZ4=1 SQLITE=1 MIMALLOC=1 TLS=1 link that library into archive, .so and program;
#            ALL_LIBS=1 those that are there (run, test and check do that)
#            SAN=address|undefined|thread (or a list with commas)
#            T=name one test   SEED=n|random   AUDIT=1
#            V=1 shows commands   DEPS=off|print   STATIC=1
#            Without CFLAGS and SAN what is installed is hardened (HARDEN in optional.mk)
# NEEDS      make, a C compiler, sh, awk, sed; src/tools/deps.sh probes everything else.

# The library, in floor order, which is also the order of the amalgamation. `make floors` reports a
# file that is missing here.
SRC_BASE  = err text opts fault futex hash random hot_keys thread_record user_callback fd sync \
            borrow mem clock tsc_clock timezone seqlock table glob log vfs pages pack pool open_error process \
            service
# What src/core/base has for guests alone; environment.h, a header without a .c, is for them as well.
GUEST_BASE = sha256 net float_text memory_limit
SRC_STATS = counters hist text
SRC_L1    = record object judge pin_slots cap segment quota_count large_list large_alloc retire index \
            index_grow unlink ghost scan quota policy_select request_sample evict reclaim read room pin acquire \
            large_value fit change cap_evict write rewrite expire resize check l1
SRC_L2    = record admission live progress tombs segment health codec index io plan geometry super log stall control \
            namespaces invalidations read rows part write pass resync reopen recover resize worker \
            value stat image visit open
SRC_FLIGHT = table wait lease invalidate flight
SRC_LIMIT = rule ring table overrides calendar slots convert decide run quick call change chain \
            permits preset snapshot tick stat text open
SRC_LOCK  = record tick lock many stat open
SRC_CACHE = talk error handle explain_record generation stamp write_order shared tier_request \
            bloom_guard demoted tier_calls tags tier_store events lookup plan change change_shared hook set object \
            delete touch increment get get_with get_alloc pin many delete_pattern explain \
            hot_keys scan clear
SRC_POLICY = policy_table policy
SRC_LOADING = breaker_calls load_plan buf update delete_with loader_api job load_call load_look \
              load_shared load_lead refresh load load_bulk lease object
SRC_STORE = version bloom_persist options settings l2_tier policy_set namespace \
            maintenance option charge stat check metrics dump fork tier_attach tier_table store
SRC_WORK  = ticker cron batch batch_open behind bus_topic bus_row bus_set bus_group \
            bus_publish bus_signal \
            journal journal_board task_slab task_burst task_queue task_state task_result \
            task_commit task_run task_submit task_take task_list task_restore task_open \
            refresher refresher_calls sched sched_calls
SRC_EXTRAS = memoize warm write_through
SRC_KIT   = key template redact url text policy_lint policy_file settings llm embedding status snapshot
SRC_RESP  = reply queue key_list channel track control trace command parse client room value session transaction tracking describe \
            options entry shared_limit shared shared_tier shared_wait cmd_read cmd_write cmd_number cmd_expire cmd_keys cmd_observe cmd_config cmd_own \
            cmd_channel cmd_work cmd_limit cmd_bloom cmd_script table stat listen http admin serve loop \
            finish open
SRC_REMOTE = config memory wire resolve reason key form ticket pipeline marker handshake \
             subscriber state sentinel link share lease limit lock script control pending get \
             put coherence attach stat open
MODULES  := base stats l1 l2 flight bloom breaker limit lock wheel \
            cache policy loading store extras work kit tls resp remote
SRC      := $(SRC_BASE:%=src/core/base/%.c) $(GUEST_BASE:%=src/core/base/%.c) $(SRC_STATS:%=src/core/stats/%.c) $(SRC_L1:%=src/core/l1/%.c) \
            $(SRC_L2:%=src/core/l2/%.c) $(SRC_FLIGHT:%=src/core/flight/%.c) \
            src/core/bloom/filter.c src/core/breaker/breaker.c \
            $(SRC_LIMIT:%=src/core/limit/%.c) $(SRC_LOCK:%=src/core/lock/%.c) src/guests/wheel/wheel.c \
            $(SRC_CACHE:%=src/core/cache/%.c) $(SRC_POLICY:%=src/core/policy/%.c) \
            $(SRC_LOADING:%=src/core/loading/%.c) $(SRC_STORE:%=src/core/store/%.c) \
            $(SRC_EXTRAS:%=src/core/extras/%.c) \
            $(SRC_WORK:%=src/guests/work/%.c) $(SRC_KIT:%=src/guests/kit/%.c) src/guests/tls/tls.c $(SRC_RESP:%=src/guests/resp/%.c) \
            $(SRC_REMOTE:%=src/guests/remote/%.c)
# The guests: parts over the cache. libcellar and dist/cellar_all.c have them, dist/cellar.c has
# not, nor what src/core/base has for them alone. `make floors` keeps the core free of their headers,
# slow_packaging_pairs.sh compares with the includes.
GUESTS     = wheel work kit tls resp remote
SRC_GUESTS = $(filter src/guests/%,$(SRC)) $(GUEST_BASE:%=src/core/base/%.c)
SRC_CORE  := $(filter-out $(SRC_GUESTS),$(SRC))
# CORE=1 (make core, make test-core): what is built, in a build folder of its own.
SRC_BUILT := $(if $(CORE),$(SRC_CORE),$(SRC))
CLI      := $(if $(CORE),,$(wildcard src/cli/*.c))
# The public headers in the order in which the header of a pair folds them: of the cache, of the
# guests.
HEADERS_CACHE  := $(addprefix include/cellar,.h _entry.h _load.h _invalidate.h _l2.h _observe.h _object.h \
                    _bloom.h _breaker.h _admin.h _tier.h _memo.h _warm.h _limit.h _lock.h)
HEADERS_GUESTS := $(addprefix include/cellar_,batch.h task.h bus.h schedule.h refresh.h work.h \
                    kit.h resp.h remote.h)
HEADERS  := $(HEADERS_CACHE) $(HEADERS_GUESTS)
# The C++ wrapper: installed and distributed with them, no part of a pair.
WRAPPER   = include/cellar.hpp

.DEFAULT_GOAL := $(if $(T),test,all)
CPUS     := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
ifeq ($(MAKELEVEL)$(filter -j% --jobserver%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(CPUS)
endif
MAKEFLAGS += --no-builtin-rules
export LC_ALL = C
CC       ?= cc
# C++ callers are built by the C++ compiler of the same family, which has the same sanitizers.
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
SAN_FLAGS = $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -g1 \
              $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=all))
CPP_OWN   = -D_GNU_SOURCE -Iinclude -Isrc -Isrc/core -Isrc/guests $(if $(UTHASH_DIR),-I$(UTHASH_DIR))
C_OWN     = -std=c11 -fvisibility=hidden$(if $(STATIC),, -fPIC) -fno-semantic-interposition -pthread $(WARN)$(if \
              $(STATIC), -fno-pie -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
              -fno-unwind-tables)
MK       := src/tools/mk
include $(MK)/optional.mk

variant_of = $(shell { $(CC) --version 2>&1 | head -n 1; echo '$(CC) $(CPP_OWN) $(CPPFLAGS) $(C_OWN) \
              $(CFLAGS) $(SAN_FLAGS) $(LDFLAGS) $(LDLIBS) $(HARDEN) $(WITH_FLAGS) $(1) \
              $(DROPIN) $(CORE)$(DEBUG_WORDS)'; } | \
              cksum | cut -d' ' -f1)
VARIANT := $(call variant_of,$(MI_FLAGS))
B       := build/$(VARIANT)
# The library with mimalloc and without has the same objects, but those that name mimalloc: `make guard`, which
# measures it without, compiles none of the others again.
O       := build/$(if $(MI_FLAGS),$(call variant_of),$(VARIANT))
# STATIC=1 makes programs alone, from objects of their own: at a fixed address, without unwind tables (gcc for
# arm64 needs both options), and the linker drops what no command uses. The modules remote, kit and cli, and the
# replay of traces, through which no get of a server runs, are compiled for size (SMALL in optional.mk). A build id
# would differ by folder: it covers the debug information.
EXE     := $(if $(STATIC),-static)
# Sources that the build makes: in place of a folder of src/, so $(MADE)/resp/page.h is "resp/page.h".
MADE    := build/made
PAGE    := $(MADE)/resp/page.h
Q        = $(if $(filter 1,$(V)),,@)
say      = $(if $(filter 1,$(V)),@:,@printf '%-5s $(step)%s\n')
COMPILE  = $(CC) $(CPP_OWN) -I$(MADE) $(CPPFLAGS) $(C_OWN) $(CFLAGS) $(SAN_FLAGS) -MMD -MP
# What is installed: with the libraries that were asked for, and hardened.
PRODUCT  = $(COMPILE) $(WITH_FLAGS) $(PROTECT) $(HARDEN)$(SMALL)
# The programs that users start are linked into build/ itself. Builds that only serve a check
# leave those links alone.
link     = $(if $(SAN)$(DROPIN)$(CORE)$(NOLINK),,$(Q)ln -sfn $(VARIANT)/$(1) build/$(2))
# `make run` and test link each library that is there. The library of a plain `make` stays in its place, because
# a program that was linked with it would lack those libraries.
link_lib = $(if $(and $(filter 1,$(ALL_LIBS)),$(wildcard build/$(2))),,$(link))
LINK     = $(CC) $(CFLAGS) $(SAN_FLAGS) -pthread $(LDFLAGS)

header_number = $(shell sed -n 's/^$(hash)define $(1)  *\([0-9][0-9]*\).*/\1/p' \
                  include/cellar.h 2>/dev/null)
MAJOR   := $(or $(call header_number,CELLAR_VERSION_MAJOR),0)
MINOR   := $(or $(call header_number,CELLAR_VERSION_MINOR),0)
PATCH   := $(or $(call header_number,CELLAR_VERSION_PATCH),0)
ABI     := $(or $(call header_number,CELLAR_ABI),0)
VERSION := $(MAJOR).$(MINOR).$(PATCH)
# The archive of a release carries commit and date in a file: it is built without git.
CARRIED := $(shell cat src/tools/commit 2>/dev/null)
COMMIT  := $(or $(word 1,$(CARRIED)),$(shell git rev-parse --short=12 HEAD 2>/dev/null))
DEV     := $(if $(filter 1,$(call header_number,CELLAR_VERSION_DEV)),-dev)
SOURCE_ID := $(VERSION)$(DEV)$(if $(COMMIT), $(COMMIT))

# `make` numbers its steps, [n/m]. A dry run counts them, in .2 s; without a count there is no number.
ifeq ($(filter-out all lib,$(or $(MAKECMDGOALS),$(.DEFAULT_GOAL)))$(origin STEPS),undefined)
STEPS   := $(filter-out 0,$(shell echo '$(SOURCE_ID)' | cmp -s - build/source-id && old='-o build/source-id'; \
             $(MAKE) -n $$old STEPS= $(MAKEOVERRIDES) $(MAKECMDGOALS) 2>/dev/null | grep -c "^printf '%-5s"))
endif
step     = $(if $(STEPS),$(eval STEP += x)[$(words $(STEP))/$(STEPS)] )

OBJ_LIB  = $(foreach f,$(SRC_BUILT),$(if $(filter $(MI_SRC),$(f)),$(B),$(O))/$(f:src/%.c=lib/%.o))
MI_SRC  := $(shell grep -l CELLAR_WITH_MIMALLOC $(SRC) 2>/dev/null)
OBJ_DBG  = $(SRC_BUILT:src/%.c=$(B)/dbg/%.o)
OBJ_SIM  = $(foreach m,$(if $(CORE),$(filter-out $(GUESTS),$(MODULES)),$(MODULES)),$(B)/sim/$(m).o)
OBJ_CLI  = $(CLI:src/%.c=$(B)/cli/%.o)
# `cellar load` and `cellar replay`: commands of the program; with bench/replay/main.c replay is one of its own.
OBJ_REPLAY = $(patsubst bench/%.c,$(B)/cli/bench/%.o,bench/load.c bench/harness/hist.c \
             $(filter-out %/main.c,$(wildcard bench/replay/*.c bench/replay/policies/*.c)))
OBJ_BOTH = $(filter-out $(B)/cli/cli/main.o,$(OBJ_CLI)) $(OBJ_REPLAY) $(B)/cli/quick.o
ID_SRC  := $(shell grep -l CELLAR_SOURCE_ID $(SRC) $(CLI) 2>/dev/null)
ID       = $(if $(filter $(ID_SRC) $(ID_SIM:.o=.c),$<),-DCELLAR_SOURCE_ID='"$(SOURCE_ID)"')
ID_SIM   = $(foreach m,$(MODULES),$(if $(filter src/core/$(m)/% src/guests/$(m)/%,$(ID_SRC)),$(B)/sim/$(m).o))
SO       = libcellar.so.$(VERSION)

## all: static and shared library, build/cellar, build/cellar-replay (what `make` does)
all: $(if $(STATIC),,lib) $(if $(CLI),build/cellar)
	$(if $(findstring s,$(firstword -$(MAKEFLAGS))),,@echo 'linked: $(LINKED)')
lib: $(B)/libcellar.a $(B)/$(SO)
	$(call link_lib,libcellar.a,libcellar.a)
	$(call link_lib,$(SO),libcellar.so)
	$(call link_lib,$(SO),libcellar.so.$(ABI))

## core: the library without its guests (GUESTS), in a build folder of its own
core:
	$(Q)$(MAKE) --no-print-directory lib CORE=1

# The one header that is needed besides those of libc. Without it, say which is missing: it, or a compiler.
$(B)/.uthash:
	$(Q)mkdir -p $(@D); echo '#include <uthash.h>' | \
	  $(CC) $(CPP_OWN) $(CPPFLAGS) -E -x c - >/dev/null 2>&1 && : >$@ || $(no_uthash)
no_uthash = { if echo '$(hash)include <stdlib.h>' | $(CC) -E -x c - >/dev/null 2>&1; then \
	  echo 'uthash.h is missing: install the package uthash-dev (as root: make deps), or give' \
	    'UTHASH_DIR=the folder that has it'; else \
	  echo 'the compiler `$(CC)` does not work: install the packages gcc and libc6-dev (as root: make deps), or give' \
	    'CC=the name of another'; fi >&2; exit 2; }
$(foreach k,$(O)/lib $(B)/dbg $(B)/cli,$(ID_SRC:src/%.c=$(k)/%.o)) $(ID_SIM): build/source-id
## page: build/made/resp/page.h, the dashboard as bytes, from src/guests/resp/dashboard.html
page: $(PAGE)
$(PAGE): src/guests/resp/dashboard.html src/tools/page.sh
	$(say) GEN $@
	$(Q)mkdir -p $(@D)
	$(Q)sh src/tools/page.sh $< >$@.new && mv $@.new $@
$(foreach k,$(O)/lib $(B)/dbg,$(k)/guests/resp/admin.o) $(B)/sim/resp.o: $(PAGE)
define library_object
	$(say) CC $*
	$(Q)mkdir -p $(@D)
	$(Q)$(PRODUCT) $(if $(filter $(MI_SRC),$<),$(MI_FLAGS)) $(ID) -fno-lto -c -o $@ $<
endef
$(filter $(O)/%,$(OBJ_LIB)): $(O)/lib/%.o: src/%.c | $(B)/.uthash
	$(library_object)
$(filter-out $(O)/%,$(OBJ_LIB)): $(B)/lib/%.o: src/%.c | $(B)/.uthash
	$(library_object)
$(B)/dbg/%.o: src/%.c | $(B)/.uthash
	$(say) CC "$* (debug)"
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) $(ID) $(WITH_FLAGS) $(call TEST_O,-O1 -g1) -DBASE_DEBUG=1 $(DEBUG_WORDS) -c -o $@ $<
# The simulation compiles each module as one unit: at -O1 the headers are most of the work.
SIM_WORDS = -I. -DBASE_DEBUG=1 -DBASE_SIM=1 -O1 $(if $(CORE),-DSIM_CORE=1)
$(B)/sim/%.c: FORCE
	$(Q)mkdir -p $(@D); printf '#include "%s"\n' $(filter src/core/$*/% src/guests/$*/%,$(SRC_BUILT)) >$@.new; \
	  if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
$(OBJ_SIM): $(B)/sim/%.o: $(B)/sim/%.c | $(B)/.uthash
	$(say) CC "$* (sim)"
	$(Q)$(COMPILE) $(ID) $(WITH_FLAGS) $(call TEST_O,-g1) $(SIM_WORDS) $(DEBUG_WORDS) -c -o $@ $<
$(B)/cli/%.o: src/%.c | $(B)/.uthash
	$(say) CC $*
	$(Q)mkdir -p $(@D)
	$(Q)$(PRODUCT) $(ID) -c -o $@ $<

# The archive is one object, and its hidden names are local: a `base_alloc` of the host and that of
# the library must not meet.
$(B)/cellar.o: $(OBJ_LIB)
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS) -nostdlib -r -o $@ $^
	$(Q)$(OBJCOPY) --localize-hidden $@
$(B)/libcellar.a: $(B)/cellar.o
	$(say) AR $@
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^
# The version script: the names of symbols.txt get the version CELLAR_<abi>, all others are local. A
# process that loads two ABIs of the library finds the names of each apart.
$(B)/libcellar.map: src/tools/symbols.txt include/cellar.h
	$(say) GEN $@
	$(Q)mkdir -p $(@D)
	$(Q)$(AWK) -v node=CELLAR_$(ABI) 'BEGIN { print node " {\nglobal:" } \
	  /^[a-z]/ { print "    " $$1 ";" } END { print "local:\n    *;\n};" }' $< >$@
# A host keeps its malloc when it links the shared library: libc comes first in lookup order. A program
# that links the archive of MIMALLOC=1 names -lmimalloc, which then serves all of it.
$(B)/$(SO): $(OBJ_LIB) $(B)/libcellar.map
	$(say) LD $@
	$(Q)$(LINK) -shared -Wl,-soname,libcellar.so.$(ABI) $(if $(SAN),,-Wl$(comma)-z$(comma)defs) \
	  -Wl,-z,nodelete $(RELRO) -Wl,--version-script=$(B)/libcellar.map -o $@ \
	  $(OBJ_LIB) $(MI_LIBS) $(WITH_LIBS) $(LDLIBS)
link_program = $(LINK) $(HARDEN_EXE) $(RELRO) $(if $(STATIC),-static -Wl$(comma)--gc-sections$(comma)--build-id=none) -o $@ $^ $(MI_LIBS) $(WITH_LIBS)
$(B)/cellar$(EXE): $(B)/cli/cli/main.o $(OBJ_BOTH) $(OBJ_LIB)
	$(say) LD $@
	$(Q)$(link_program) -lm $(LDLIBS)
$(B)/cellar-replay$(EXE): $(B)/cli/bench/replay/main.o $(OBJ_BOTH) $(OBJ_LIB)
	$(say) LD $@
	$(Q)$(link_program) -lm $(LDLIBS)
build/cellar: $(B)/cellar$(EXE) $(B)/cellar-replay$(EXE)
	$(call link,cellar$(EXE),cellar)
	$(call link,cellar-replay$(EXE),cellar-replay)

# A file that changes only when its text does: a new commit makes a new source id.
keep_if_same = $(Q)mkdir -p build; echo '$(1)' | cmp -s - $@ || echo '$(1)' >$@
build/source-id: FORCE
	$(call keep_if_same,$(SOURCE_ID))

## run: install what is missing, build, run the tour (ARGS="..." another command)
run:
	$(Q)sh src/tools/deps.sh build
	$(Q)$(MAKE) --no-print-directory all
	$(Q)build/cellar $(or $(ARGS),tour)
# For scripts: the build folder of the tests of a variant (make -s where SAN=address).
where:
	@echo $(B)
## clean: remove build/ and dist/
clean:
	rm -rf build dist
## help: this table
help:
	@$(AWK) '/^## [a-z-]+: / { \
	  name = $$2; sub(/:$$/, "", name); line = $$0; sub(/^## [a-z-]+: /, "", line); \
	  printf "make %-14s %s\n", name, line; next } \
	  /^## / { print "                    " substr($$0, 4) }' Makefile $(PARTS)
	@echo
	@$(AWK) '/^# VARIABLES/ { on = 1 } /^# NEEDS/ { exit } on { print substr($$0, 3) }' Makefile

PARTS    := $(addprefix $(MK)/,dropin.mk install.mk test.mk python.mk check.mk proof.mk bench.mk)
include $(PARTS)

FORCE:
-include $(wildcard $(if $(MI_FLAGS),$(O)/lib/*/*/*.d) $(B)/*/*.d $(B)/*/*/*.d $(B)/*/*/*/*.d)
.PHONY: all lib core build/cellar run page where clean help FORCE
