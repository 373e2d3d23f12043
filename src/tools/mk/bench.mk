# SPDX-License-Identifier: MIT
#
# bench.mk: the benchmark and the regression guard. CC and the rules for dist/ come from the
# Makefile and dropin.mk. CFLAGS are not used here, see FAIRNESS.
#
# PICTURE    dist/cellar_all.c --one object, baseline x86-64--> cellar.o \
#            bench/harness bench/suites bench/peers/*  ------------>  build/bench/cellar-bench
#            bench/guard.c + the same cellar.o  ------------------->  build/bench/guard
#            bench/guard.c + libcellar.a of `make`  --------------->  build/bench/guard-library
#            bench/quick.c, bench/replay/*.c  ---------------------->  build/cellar, cellar-replay
# FAIRNESS   One set of flags (BENCH_CFLAGS, default -O2) and the host's malloc for the library and
#            every peer. mimalloc is never linked here: it would replace malloc for every subject.
# VARIABLES  SUITE="l1 many" some suites            QUICK=1 9 rounds of 20 ms, not for publication
#            SUITE=remote, workers: the remote tier, with libhiredis-dev
#            SUITE=python alone: the package for Python beside caches that are installed
#            SUITE=replay alone: traces through the engine, BENCH_TRACES=folder for the public ones
#            PEERS="uthash" only these and raw      FULL=1  all shapes and sizes
#            MOST=seconds   nothing new begins after so long (bench-peers: 30 minutes)
#            MINUTES=n      bench-all ends after so long, 170 if not given
#            JSON=file      append lines to it instead of a fresh file in build/bench
#            WL=file.wl     a workload of your own  REF=name  ratios of it to this subject
#            CHECK=1 (bench-report) exit 1 below a floor
#            FASTER=folder  a checkout of github.com/microsoft/FASTER: suite l2 measures F2 too
#            BENCH_CFLAGS="-O3 -march=native"       an extra for all subjects alike
#            BENCH_CFLAGS="-O2 -DBASE_FAR_BY=2"     deadlines by the CPU's counter; 3: by the coarse
#                                                   clock; without it the first open measures both

BENCH_B      := build/bench
BENCH_CC      = $(or $(CC),cc)
BENCH_CFLAGS ?= -O2
BENCH_WARN    = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes \
                -Wmissing-prototypes -Wvla -Wundef
# A peer in C or C++ is built in when a program of one line with its header compiles. The probe runs
# once, and only when a goal needs its result: these headers take a second to compile.
BENCH_WANTED  = $(filter $(if $(WL),,bench) bench-own bench-build guard $(BENCH_B)/%,$(MAKECMDGOALS))
bench_once    = $(eval $(1) := $(2))$($(1))
BENCH_CXX     = $(or $(CXX),c++)
bench_has     = $(shell echo '$(hash)include <$(2)>' | $(1) - -fsyntax-only >/dev/null 2>&1 && \
                  echo 1 || echo 0)
BENCH_CUCKOO  = $(call bench_once,BENCH_CUCKOO,\
                  $(call bench_has,$(BENCH_CXX) -x c++ -std=c++20,libcuckoo/cuckoohash_map.hh))
BENCH_TBB     = $(call bench_once,BENCH_TBB,\
                  $(call bench_has,$(BENCH_CXX) -x c++ -std=c++20,tbb/concurrent_hash_map.h))
BENCH_ROCKC   = $(call bench_once,BENCH_ROCKC,\
                  $(call bench_has,$(BENCH_CXX) -x c++ -std=c++20,rocksdb/cache.h))
BENCH_SQLITE  = $(call bench_once,BENCH_SQLITE,\
                  $(call bench_has,$(BENCH_CC) -x c,sqlite3.h))
BENCH_PEERS   = raw uthash cellar redis
BENCH_CXXS    = $(if $(filter 1,$(BENCH_CUCKOO)),libcuckoo) $(if $(filter 1,$(BENCH_TBB)),tbb) \
                $(if $(filter 1,$(BENCH_ROCKC)),rocks_cache)
BENCH_ROCKS   = $(call bench_once,BENCH_ROCKS,\
                  $(call bench_has,$(BENCH_CC) -x c,rocksdb/c.h))
BENCH_LMDB    = $(call bench_once,BENCH_LMDB,\
                  $(call bench_has,$(BENCH_CC) -x c,lmdb.h))
BENCH_F2      = $(if $(FASTER),$(call bench_once,BENCH_F2,\
                  $(call bench_has,$(BENCH_CXX) -x c++ -std=c++20 -I$(FASTER)/cc/src,core/f2.h)),0)
BENCH_DISKS   = cellar sequential $(if $(filter 1,$(BENCH_ROCKS)),rocksdb) $(if $(filter 1,$(BENCH_LMDB)),lmdb)
# What reads traces, as in `cellar replay`.
BENCH_READER  = bench/replay/trace.c bench/replay/ideal.c
BENCH_SRC     = $(wildcard bench/harness/*.c bench/suites/*.c bench/peers/*.c) \
                $(BENCH_PEERS:%=bench/peers/%/subject.c) $(BENCH_DISKS:%=bench/peers/%/disk.c) $(BENCH_READER)
# The suites `remote` and `workers` ask their servers with hiredis, too.
BENCH_REMOTE  = $(call bench_once,BENCH_REMOTE,\
                  $(call bench_has,$(BENCH_CC) -x c,hiredis/hiredis.h))
BENCH_WORDS   = $(shell $(BENCH_CC) --version 2>&1 | head -n 1) $(BENCH_CC) $(BENCH_CFLAGS) \
                $(BENCH_CXXS) $(BENCH_PEERS) $(BENCH_DISKS) $(BENCH_F2) $(FASTER) \
                $(BENCH_REMOTE) $(WITH_FLAGS)
BENCH_OBJ     = $(BENCH_B)/o
BENCH_OBJS    = $(BENCH_SRC:bench/%.c=$(BENCH_OBJ)/%.o) \
                $(BENCH_CXXS:%=$(BENCH_OBJ)/peers/%/subject.o) \
                $(if $(filter 1,$(BENCH_F2)),$(BENCH_OBJ)/peers/f2/disk.o) $(BENCH_OBJ)/hash.o \
                $(BENCH_OBJ)/glob.o $(BENCH_OBJ)/cellar.o $(BENCH_OBJ)/l2lib.o \
                $(BENCH_OBJ)/error.o
BENCH_COMPILE = $(BENCH_CC) -std=c11 -D_GNU_SOURCE $(BENCH_CFLAGS) -pthread -MMD -MP
BENCH_CPP     = -I. -Isrc -Isrc/core -Isrc/guests -Iinclude -DBENCH_HAVE_CELLAR=1 \
                -DBENCH_HAVE_CUCKOO=$(BENCH_CUCKOO) \
                -DBENCH_HAVE_TBB=$(BENCH_TBB) \
                -DBENCH_HAVE_SQLITE=$(BENCH_SQLITE) -DBENCH_HAVE_ROCKSDB=$(BENCH_ROCKS) \
                -DBENCH_HAVE_ROCKS_CACHE=$(BENCH_ROCKC) \
                -DBENCH_HAVE_LMDB=$(BENCH_LMDB) -DBENCH_HAVE_F2=$(BENCH_F2) -DBENCH_HAVE_REMOTE=$(BENCH_REMOTE) \
                -DBENCH_HAVE_TLS=$(if $(HAVE_TLS),1,0) \
                '-DBENCH_FLAGS="$(BENCH_CFLAGS)"'
BENCH_LIBS    = $(if $(BENCH_CXXS)$(filter 1,$(BENCH_F2)),-lstdc++) $(if $(filter 1,$(BENCH_TBB) $(BENCH_F2)),-ltbb) \
                $(if $(filter 1,$(BENCH_F2)),-laio -luuid) \
                $(if $(filter 1,$(BENCH_SQLITE)),-lsqlite3) \
                $(if $(filter 1,$(BENCH_ROCKS) $(BENCH_ROCKC)),-lrocksdb) $(if $(filter 1,$(BENCH_LMDB)),-llmdb) \
                $(if $(filter 1,$(BENCH_REMOTE)),-lhiredis) $(WITH_LIBS) -lm
# Disk calls that harness/freeze.c can block.
BENCH_FREEZE  = $(foreach c,pread pwrite fdatasync madvise,-Wl,--wrap=$(c))
BENCH_NAME    = $(or $(firstword $(SUITE)),$(if $(WL),own),all)
BENCH_JSON    = $(or $(JSON),$(BENCH_B)/$(BENCH_NAME).jsonl)
BENCH_ARGS    = $(if $(SUITE),--suite "$(SUITE)") $(if $(PEERS),--peers "$(PEERS)") \
                $(if $(WL),--workload "$(if $(findstring /,$(WL)),,./)$(WL)") $(if $(REF),--ref $(REF)) $(if $(filter 1,$(QUICK)),--quick) \
                $(if $(MOST),--most-s $(MOST)) $(if $(filter 1,$(FULL)),--full) \
                $(if $(filter 1,$(ALL_SUBJECTS)),--all-subjects)
BENCH_ENV     = BENCH_COMMIT="$$(git describe --always --dirty 2>/dev/null)" BENCH_CC='$(BENCH_CC)'
BENCH_TABLES  = $(or $(AWK),awk) -f bench/report/lines.awk -f bench/report/tables.awk
BENCH_Q       = $(if $(filter 1,$(V)),,@)
bench_say     = $(if $(filter 1,$(V)),@:,@printf '%-5s %s\n')

.PHONY: bench bench-all bench-own bench-build bench-peers bench-drivers bench-report guard

# Other flags or another compiler compile everything again.
$(BENCH_B)/words: FORCE
	$(BENCH_Q)mkdir -p $(BENCH_OBJ)
	$(BENCH_Q)echo '$(BENCH_WORDS)' | cmp -s - $@ || echo '$(BENCH_WORDS)' >$@

$(BENCH_OBJ)/cellar.o: dist/cellar_all.c dist/cellar_all.h $(BENCH_B)/words
	$(bench_say) CC "dist/cellar_all.c (bench)"
	$(BENCH_Q)mkdir -p $(@D)
	$(BENCH_Q)$(BENCH_COMPILE) $(WITH_FLAGS) -c -o $@ $<
# Keyed hash and matcher a second time, for suites and peers: their names are static in the object
# above.
$(BENCH_OBJ)/error.o: $(BENCH_OBJ)/%.o: src/cli/%.c $(BENCH_B)/words
	$(BENCH_Q)mkdir -p $(@D)
	$(BENCH_Q)$(BENCH_COMPILE) -Isrc -Isrc/core -Isrc/guests -Iinclude -c -o $@ $<
$(BENCH_OBJ)/hash.o $(BENCH_OBJ)/glob.o: $(BENCH_OBJ)/%.o: src/core/base/%.c $(BENCH_B)/words
	$(BENCH_Q)mkdir -p $(@D)
	$(BENCH_Q)$(BENCH_COMPILE) -Isrc -Isrc/core -Isrc/guests -Iinclude -c -o $@ $<
# The library a second time, with the names of its disk tier and of the inspection global and no
# others.
BENCH_L2_NAMES = l2_open l2_close l2_put l2_get l2_sync l2_hash_key l2_stats_get \
                directory_inspect base_account_init base_log_init
$(BENCH_OBJ)/l2lib.o: dist/cellar.c dist/cellar.h src/cli/directory.c src/cli/layer.c $(BENCH_B)/words \
                $(MK)/bench.mk
	$(bench_say) CC "dist/cellar.c (bench, l2 alone)"
	$(BENCH_Q)mkdir -p $(@D)
	$(BENCH_Q)$(BENCH_COMPILE) '-DCELLAR_PRIVATE=__attribute__((visibility("hidden")))' -c -o $@.all $<
	$(BENCH_Q)$(BENCH_COMPILE) -Isrc -Isrc/core -Isrc/guests -Iinclude -MT $@ -c -o $@.dir src/cli/directory.c
	$(BENCH_Q)$(BENCH_COMPILE) -Isrc -Isrc/core -Isrc/guests -Iinclude -c -o $@.layer src/cli/layer.c
	$(BENCH_Q)$(BENCH_CC) $(BENCH_CFLAGS) -nostdlib -r -o $@ $@.all $@.dir $@.layer
	$(BENCH_Q)objcopy $(BENCH_L2_NAMES:%=-G %) $@
$(BENCH_OBJ)/%.o: bench/%.c $(BENCH_B)/words
	$(bench_say) CC "bench/$*"
	$(BENCH_Q)mkdir -p $(@D)
	$(BENCH_Q)$(BENCH_COMPILE) $(BENCH_WARN) $(BENCH_CPP) -c -o $@ $<
# The headers of the peers count as system headers, so that the compiler does not warn about them.
$(BENCH_OBJ)/peers/%.o: bench/peers/%.cc $(BENCH_B)/words
	$(bench_say) CXX "bench/peers/$*"
	$(BENCH_Q)mkdir -p $(@D)
	$(BENCH_Q)$(BENCH_CXX) -std=c++20 -D_GNU_SOURCE $(BENCH_CFLAGS) -pthread -MMD -MP -Wall -Wextra \
	  $(BENCH_CPP) $(FASTER:%=-isystem %/cc/src) -c -o $@ $<
$(BENCH_B)/cellar-bench: $(if $(BENCH_WANTED),$(BENCH_OBJS))
	$(bench_say) LD $@
	$(BENCH_Q)$(BENCH_CC) $(BENCH_CFLAGS) -pthread $(BENCH_FREEZE) -o $@ $(BENCH_OBJS) \
	  $(BENCH_LIBS)
-include $(wildcard $(BENCH_OBJ)/*.d $(BENCH_OBJ)/*/*.d $(BENCH_OBJ)/*/*/*.d)

bench-build: $(BENCH_B)/cellar-bench

## bench: cellar and its peers, table and JSON lines (SUITE= QUICK=1 FULL=1 PEERS= WL= JSON=)
ifeq ($(SUITE),replay)
bench: build/cellar
	$(BENCH_Q)mkdir -p $(BENCH_B)
	$(BENCH_Q)$(if $(JSON),:,rm -f $(BENCH_JSON))
	$(BENCH_Q)$(BENCH_ENV) sh bench/suites/replay.sh build/cellar-replay $(BENCH_JSON)
else ifeq ($(SUITE),python)
bench: python
	$(BENCH_Q)mkdir -p $(BENCH_B)
	$(BENCH_Q)PYTHONPATH=$(B)/python:$(PYTHONPATH) $(PYTHON) bench/suites/python.py $(BENCH_JSON)
else ifneq ($(WL),)
# A file of the caller is checked before the bench is built.
bench: $(BENCH_B)/wl_check
	$(BENCH_Q)$< "$(WL)" "$(PEERS)" "$(REF)" $$(grep -oE '^    [{] "[a-z0-9_]+"|REGISTRY_ROW.[a-z0-9_]+.' \
	  bench/peers/registry.c | sed 's/.*[{] "//; s/REGISTRY_ROW.//; s/[")]$$//' | sort -u | grep -vx id)
	$(BENCH_Q)$(MAKE) --no-print-directory bench-own
BENCH_OWN     = $(basename $(notdir $(WL)))
bench-own: BENCH_NAME = own.$(BENCH_OWN)
bench-own: $(BENCH_B)/cellar-bench
	$(BENCH_Q)$(if $(JSON),:,rm -f $(BENCH_JSON))
	$(BENCH_Q)printf 'bench: %s runs, with its log in %s\n' $(WL) $(BENCH_B)/own.$(BENCH_OWN).log
	$(BENCH_Q)status=0; $(BENCH_ENV) $< $(BENCH_ARGS) --json $(BENCH_JSON) >$(BENCH_B)/own.$(BENCH_OWN).log || \
	  status=$$?; $(BENCH_TABLES) -v table=own -v ref=$(or $(REF),uthash64) -v keep="$(PEERS)" -v json=$(BENCH_JSON) \
	  -v logfile=$(BENCH_B)/own.$(BENCH_OWN).log $(BENCH_JSON); exit $$status
$(BENCH_B)/wl_check: bench/wl_check.c $(addprefix bench/harness/,workload.c trace.c verify.h workload.h trace.h) \
                       $(BENCH_READER) $(BENCH_READER:.c=.h) src/cli/error.c
	$(BENCH_Q)mkdir -p $(BENCH_B)
	$(BENCH_Q)$(BENCH_CC) -std=c11 -D_GNU_SOURCE -O0 -I. -Isrc -Isrc/core -Iinclude -o $@ $(filter %.c,$^) -lm
else
ifneq ($(filter port workers,$(SUITE)),)
BENCH_ENV += BENCH_SERVE=$(BENCH_B)/serve
bench: $(BENCH_B)/serve
endif
bench: $(BENCH_B)/cellar-bench
	$(BENCH_Q)$(if $(JSON),:,if [ -f $(BENCH_JSON) ]; then mv $(BENCH_JSON) $(BENCH_JSON).before; fi)
	$(BENCH_Q)status=0; $(BENCH_ENV) $(BENCH_B)/cellar-bench $(BENCH_ARGS) --json $(BENCH_JSON) || \
	  status=$$?; if [ -f $(BENCH_JSON) ]; then $(BENCH_TABLES) -v table=floors -v only="$(SUITE)" \
	  bench/report/targets.tsv $(BENCH_JSON); $(BENCH_TABLES) -v table=threads $(BENCH_JSON); fi; exit $$status
endif

# The program for suites port and workers, without debug information.
.PHONY: $(BENCH_B)/serve
$(BENCH_B)/serve:
	$(BENCH_Q)$(MAKE) --no-print-directory -s STATIC=1 NOLINK=1 all
	$(BENCH_Q)mkdir -p $(@D)
	$(BENCH_Q)strip -o $@ $$($(MAKE) --no-print-directory -s STATIC=1 where)/cellar-static

# Peers in other languages are processes that time their own windows. A peer that cannot be built is
# left out with the message of its tool, and the suites print a skip line.
bench-drivers:
	$(BENCH_Q)sh bench/peers/build.sh $(BENCH_B) $(DRIVERS)
BENCH_PEER_SUITES = peers servers memory grow churn open limit storm stampede expire hitratio
## bench-peers: install what the peers need, say what is left out, then bench with all of them
bench-peers:
	$(Q)sh src/tools/deps.sh bench
	$(Q)$(MAKE) --no-print-directory bench-drivers
	$(Q)$(if $(JSON)$(SUITE),:,if [ -f $(BENCH_B)/peers.jsonl ]; then \
	  mv $(BENCH_B)/peers.jsonl $(BENCH_B)/peers.jsonl.before; fi)
	$(Q)$(MAKE) --no-print-directory bench ALL_SUBJECTS=1 \
	  MOST=$(or $(MOST),$(if $(filter 1,$(FULL)),,1800)) \
	  SUITE="$(or $(SUITE),$(BENCH_PEER_SUITES))" \
	  JSON=$(or $(JSON),$(BENCH_B)/peers.jsonl)

## bench-compare: two commits in one process, a verdict for each row (A= B=; B=. is this tree; REPS= PLANT=)
.PHONY: bench-compare
bench-compare:
	$(BENCH_Q)CC='$(BENCH_CC)' CFLAGS='$(BENCH_CFLAGS)' sh bench/compare/compare.sh $(BENCH_B)/compare \
	  '$(or $(A),HEAD)' '$(if $(filter command%,$(origin B)),$(B),.)' $(if $(REPS),--reps=$(REPS)) $(if $(PLANT),--plant=$(PLANT))

## bench-report: last figures against their floors; bench/results.json, tables of bench/results.md, picture
bench-report:
	$(BENCH_Q)sh bench/report/report.sh $(if $(filter 1,$(CHECK)),--check) $(or $(JSON),$(BENCH_B))

## bench-all: bench/results.json, results.md, table and picture of README.md, in MINUTES (170); a rerun
## of the same commit goes on where it ended; below 60 minutes: short windows
bench-all:
	$(Q)sh src/tools/deps.sh bench
	$(Q)$(MAKE) --no-print-directory bench-drivers
	$(Q)$(MAKE) --no-print-directory bench-build build/cellar $(BENCH_B)/serve
	$(BENCH_Q)BENCH_CC='$(BENCH_CC)' sh bench/report/all.sh $(BENCH_B) $(or $(MINUTES),170)

## guard: instructions per operation against bench/baseline.json (BASELINE=1 writes a new entry)
BENCH_VALGRIND = $(shell echo '$(hash)include <valgrind/callgrind.h>' | \
  $(BENCH_CC) -E - >/dev/null 2>&1 && echo $(BENCH_B)/guard)
BENCH_LIBRARY  = $(if $(HARDEN),$(BENCH_VALGRIND:%=%-library))
guard: $(if $(BENCH_WANTED),$(BENCH_VALGRIND) $(BENCH_LIBRARY))
	$(BENCH_Q)if [ -z "$(BENCH_VALGRIND)" ]; then sh bench/guard.sh --headless "$(BENCH_CC)"; else \
	  sh bench/guard.sh $(if $(filter 1,$(BASELINE)),--write) $(BENCH_LIBRARY:%=--library %) \
	    $(BENCH_B)/guard bench/baseline.json; fi
$(BENCH_B)/guard: bench/guard.c $(BENCH_OBJ)/cellar.o
	$(bench_say) CC bench/guard
	$(BENCH_Q)$(BENCH_COMPILE) $(BENCH_WARN) -Iinclude -o $@ $< $(BENCH_OBJ)/cellar.o -lm \
	  $(WITH_LIBS)
$(BENCH_B)/guard-library: bench/guard.c $(B)/libcellar.a $(BENCH_B)/words
	$(bench_say) CC bench/guard-library
	$(BENCH_Q)$(BENCH_COMPILE) $(BENCH_WARN) -Iinclude -o $@ $< $(B)/libcellar.a -lm $(MI_LIBS) $(WITH_LIBS)

# What `cellar bench` measures with and beside, in the program: one object with one global name.
QUICK_SRC = $(addprefix bench/,quick.c $(addprefix harness/,window.c trace.c hist.c host.c rss.c verify.c) \
            $(addprefix peers/,raw/subject.c uthash/subject.c cellar/subject.c))
QUICK_OBJ = $(QUICK_SRC:bench/%.c=$(B)/cli/bench/%.o)
$(sort $(QUICK_OBJ) $(OBJ_REPLAY) $(B)/cli/bench/replay/main.o): $(B)/cli/bench/%.o: bench/%.c
	$(say) CC "$* (bench, in the program)"
	$(Q)mkdir -p $(@D)
	$(Q)$(PRODUCT) -I. -fno-lto -c -o $@ $<
$(B)/cli/quick.o: $(QUICK_OBJ)
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS) -nostdlib -r -o $@ $^
	$(Q)$(OBJCOPY) -G quick_run $@
-include $(wildcard $(B)/cli/bench/*/*/*.d)
