# SPDX-License-Identifier: MIT
#
# test.mk: the test programs, the examples, the schedule simulation, and `make test`.
#
# PROGRAMS   test_*.c: one program each, on the debug objects (asserts, lock ranks) -> $(B)/t/
#            test_api_*.c: a second time, on the drop-in -> $(B)/dist/: those that include a header
#            of a guest on the pair cellar_all, all others on the pair cellar
#            examples: as a user builds them, on the archive -> $(B)/examples/. A recipe, a program
#            without checks of its own, has them beside it: NAME.txt, its output, or NAME.sh
#            sim/: the schedule driver on the sim objects, which yield at each seam -> build/sim
#            mutants/: the same of a copy of the sources with every patch -> build/sim-mutants
# NAMES      T= accepts every form of a name that a report prints: cli_replay,
#            test_cli_replay.sh, dist/test_api_load, tests/unit/core/l1/test_l1_large_value.c,
#            examples/sessions, simulation. The name of a test is unique in all folders.
# CORE       `make test-core`: the core without its guests, in a build folder of its own, and every
#            test, example and scenario that includes no header of a guest, also through a kit.
# LEVELS     Optimizing the tests took half of the time of `make test`. A test program is compiled
#            with -O0 unless it loops for long (TESTS_BUSY), the library below the tests with -O1
#            and debug information for back traces alone (-g1: a sixth of the compile time and half
#            of the program's size). CFLAGS="-O0 -g" gives all of it.
# T_PART     n: all programs, each with an n-th of its repetitions (make check: sanitizers), without
#            the simulation and the tests of packages, which repeat nothing.
# T_HALF     1 or 2: one half of the programs and examples, or the other. SEED decides which is which.
# SHARE      `make test` does a quarter of the repetitions and a sample of the api tests on the
#            drop-in, and takes two to three minutes. SHARE=1 does all: the default with SAN, DROPIN
#            or PLAIN. make check: see check.mk.

TEST_DIRS  := $(patsubst %/,%,$(wildcard tests/unit/*/*/) tests/unit/cli/ tests/unit/python/) $(addprefix tests/,api crash concurrency \
                package bench fuzz)
SUPPORT    := tests/support
SIM        := tests/concurrency/sim
MODEL      := tests/concurrency/model
PACKAGE    := tests/package
EXAMPLE    := tests/examples

in_dirs     = $(wildcard $(foreach d,$(TEST_DIRS),$(1:%=$(d)/%)))
named       = $(foreach t,$(2),$(if $(filter $(1),$(notdir $(t))),$(t)))
ALL_TESTS  := $(call in_dirs,test_*.c test_*.sh)
source_of   = $(filter %/$(1).c,$(ALL_TESTS))

# Files of tests that include a header of a guest, also through a kit.
WITH_GUESTS := $(shell $(AWK) -v headers='$(notdir $(HEADERS_GUESTS)) \
              $(GUEST_BASE:%=base/%.h)' \
              -v folders='$(GUESTS)' -f $(SUPPORT)/guests.awk $(ALL_TESTS) \
              $(wildcard $(SUPPORT)/*.h tests/fuzz/*.[ch] $(SIM)/*.c $(EXAMPLE)/*.c*))
# Tests that ask a server with a client library of their own: CLIENT_LIBS. They wait for servers for
# minutes, so `make check` runs them, and `make test` by name.
-include $(SUPPORT)/client.mk
WITH_CLIENT := $(shell $(AWK) -v headers='$(SUPPORT)/engine_kit.h' -f $(SUPPORT)/guests.awk $(ALL_TESTS) \
              $(wildcard $(SUPPORT)/*.h)) $(call named,test_remote_%.sh test_remote_tls%.c,$(ALL_TESTS))
NOT_ASKED   = $(if $(and $(T),$(CLIENT_LIBS)),,$(WITH_CLIENT))
NEED_GUESTS := $(patsubst %.c,%,$(notdir $(call named,test_api_%,$(WITH_GUESTS))))
# CORE=1: these are left out, and the tests of the program, of packages and of the benches.
OF_GUESTS   = $(WITH_GUESTS) $(foreach d,unit/guests unit/cli unit/python package bench,\
                tests/$(d)/%)

TEST_NAMES := $(if $(T),$(patsubst test_%,%,$(basename $(notdir $(T)))),*)
TEST_FILES  = $(call in_dirs,test_$(1).c test_$(1).sh) $(wildcard $(EXAMPLE)/$(1).c \
                $(patsubst %_cc,$(EXAMPLE)/%.cc,$(filter %_cc,$(1)))) $(filter simulation,$(1))
NO_TEST    := $(strip $(if $(T),$(foreach t,$(T),$(if $(strip $(call TEST_FILES,$(patsubst \
                test_%,%,$(basename $(notdir $(t)))))),,$(t)))))
# The random program over all calls runs by name: slow_calls_fuzz.sh gives it its time. So do the
# tests of pages and pairs, a sixth of the work of all tests: a lane of `make check` runs them.
TESTS_PAGES := packaging_docs packaging_dropin packaging_site
NAMED_HERE := $(filter-out $(if $(T),,%/test_calls_fuzz.c $(foreach t,$(TESTS_PAGES),%/test_$(t).sh)),\
                $(call in_dirs,$(TEST_NAMES:%=test_%.c) $(TEST_NAMES:%=test_%.sh)))
TESTS_HERE := $(filter-out $(NOT_ASKED) $(if $(CORE),$(OF_GUESTS)),$(NAMED_HERE))
LEFT_OUT   := $(if $(CORE),,$(filter-out $(TESTS_HERE),$(NAMED_HERE)))
TESTS_C    := $(filter %.c,$(TESTS_HERE))
TESTS_API  := $(call named,test_api_%,$(TESTS_C))
# TSan cannot find anything in a program of one thread and makes it fifty times slower. Such a
# program says T_ONE_THREAD, which a plain build checks (t.h). By name it runs under TSan as well.
ONE_THREAD := $(if $(T),,$(if $(findstring thread,$(SAN)),$(shell \
              grep -l '^T_ONE_THREAD;' $(TESTS_C) /dev/null)))
TESTS_LIB   = $(filter-out $(ONE_THREAD) $(OTHER_HALF),$(TESTS_C))
TESTS_SH   := $(if $(SAN)$(DROPIN)$(PLAIN),,$(filter-out $(if $(T_PART),$(PACKAGE)/%),$(filter %.sh,$(TESTS_HERE))))
UV_WORDS   := $(if $(findstring memory,$(SAN)),,$(shell pkg-config --cflags --libs libuv 2>/dev/null))
HAVE_UV    := $(if $(UV_WORDS),$(call probe_link,uv.h,$(UV_WORDS)))
PCRE2_WORDS := $(if $(findstring memory,$(SAN)),,$(shell pkg-config --cflags --libs libpcre2-8 2>/dev/null))
LACK_LIB   := $(if $(HAVE_SQLITE),,html_pages nightly triggers) $(if $(HAVE_TLS),,sessions) \
              $(if $(HAVE_UV),,uv_loop) $(if $(PCRE2_WORDS),,patterns)
# The allocator of ASan (gcc 12) hangs in a child if a thread of its parent allocated at the fork.
NOT_ASAN   := $(if $(findstring address,$(SAN)),prefork)
EXAMPLES   := $(filter-out $(if $(CORE),$(OF_GUESTS)) $(LACK_LIB:%=$(EXAMPLE)/%.c) \
                $(NOT_ASAN:%=$(EXAMPLE)/%.c),\
                $(wildcard $(TEST_NAMES:%=$(EXAMPLE)/%.c)))
EXAMPLESXX := $(filter-out $(if $(CORE),$(OF_GUESTS)),$(wildcard $(if $(T),$(patsubst \
                %_cc,$(EXAMPLE)/%.cc,$(filter %_cc,$(TEST_NAMES))),$(EXAMPLE)/*.cc)))
HAVE_CXX   := $(shell command -v $(firstword $(CXX)) 2>/dev/null)
HAVE_DIST  := $(if $(SAN),,$(HEADERS))

example_of = $(EXAMPLE)/$(patsubst %_cc,%,$(notdir $(1)))
run_example = $(if $(wildcard $(example_of).sh),'t|examples/$(notdir $(1))|sh $(example_of).sh $(1)',\
                $(if $(wildcard $(example_of).txt),'x|examples/$(notdir $(1))|(cd $(dir $(1)) && \
                  ./$(notdir $(1))) >$(1).out && diff $(example_of).txt $(1).out',\
                'x|examples/$(notdir $(1))|$(1)'))
programs  = $(patsubst %.c,$(B)/$(1)/%,$(notdir $(2)))
RUN_C     = $(call programs,t,$(TESTS_LIB))
SHARE    ?= $(if $(SAN)$(DROPIN)$(PLAIN),1,4)
SAMPLED   = $(filter-out 1,$(SHARE))
DIST_SAMPLE = bad_input disk load process semantics struct_sizes
OF_DIST   = $(if $(and $(SAMPLED),$(if $(T),,yes)),\
              $(call named,$(DIST_SAMPLE:%=test_api_%.c),$(TESTS_API)),$(TESTS_API))
# At the caller's level of optimization these objects take a processor for eight and for twelve
# seconds.
DIST_LEVEL = $(call TEST_O,$(if $(SAMPLED),-O0) -g0)
dist_obj  = $(B)/dist/$(1)$(if $(SAMPLED),-O0).o
dist_of   = $(call dist_obj,cellar$(if $(filter $(NEED_GUESTS),$(1)),_all))
DIST_O    = $(sort $(foreach t,$(notdir $(RUN_DIST)),$(call dist_of,$(t))))
RUN_DIST  = $(if $(HAVE_DIST),$(call programs,dist,$(OF_DIST)))
# The C++ library is not instrumented: MSan would report each value that it returns.
WHY_NO_CXX = $(if $(findstring memory,$(SAN)),the C++ library knows no MSan,$(if $(HAVE_CXX),,\
  no C++ compiler))
RUN_EX    = $(patsubst $(EXAMPLE)/%.c,$(B)/examples/%,$(filter-out $(OTHER_HALF),$(EXAMPLES))) \
            $(if $(WHY_NO_CXX),,$(patsubst $(EXAMPLE)/%.cc,$(B)/examples/%_cc,$(filter-out \
              $(OTHER_HALF),$(EXAMPLESXX))))

# A test in tests/unit/ of a module of floors 0 to 2 links that module and the floors below it:
# tests/unit/core/l1 links base, stats and l1. All others link the whole library.
BELOW_base  = base
BELOW_stats = base stats
LOW_MODULES = l1 l2 flight bloom breaker limit lock wheel
module_of   = $(notdir $(patsubst %/,%,$(filter tests/unit/%,$(dir $(call source_of,$(1))))))
below_of    = $(or $(BELOW_$(1)),$(if $(filter $(LOW_MODULES),$(1)),base stats $(1)),all)
only        = $(foreach m,$(1),$(filter $(B)/dbg/core/$(m)/% $(B)/dbg/guests/$(m)/%,$(OBJ_DBG)))
define test_archive
$(B)/dbg-$(1).a: $$(if $$(filter all,$$(call below_of,$(1))),$$(OBJ_DBG),\
                   $$(call only,$$(call below_of,$(1))))
	$$(Q)rm -f $$@
	$$(Q)$$(AR) rcs $$@ $$^
endef
$(foreach m,base stats $(LOW_MODULES) all,$(eval $(call test_archive,$(m))))
test_lib    = $(if $(DROPIN),$(B)/dropin.o,\
              $(B)/dbg-$(if $(filter all,$(call below_of,$(1))),all,$(1)).a)

# See LEVELS. TEST_O gives its words only where the caller gave no CFLAGS.
TEST_O    = $(if $(filter file,$(origin CFLAGS)),$(1))
TESTS_BUSY = bench_% $(addprefix l1_,adaptive bounded_work budget expiry forged large_value \
             linear model pins resize scan split torn) l2_crash l2_damage \
             limit_oracle limit_table load_storm load_timeouts lock_threads lin_%
TEST_LEVEL = $(if $(filter $(TESTS_BUSY:%=test_%),$(1)),-O1,-O0)
TEST_WORDS = $(call TEST_O,$(TEST_LEVEL) $(if $(SAN),-g1,-g0)) -I. -DBASE_DEBUG=1
# DROPIN=1 puts the amalgamation below the whole suite. Its private names are hidden instead of
# static, so that tests of one module find them.
$(B)/dropin.o: dist/cellar_all.c dist/cellar_all.h
	$(say) CC "dist/cellar_all.c (private names hidden)"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=c11 -DBASE_DEBUG=1 -fPIC $(WARN) $(CFLAGS) $(SAN_FLAGS) $(WITH_FLAGS) \
	  '-DCELLAR_PRIVATE=__attribute__((visibility("hidden")))' -c -o $@ $<
.SECONDEXPANSION:
$(call programs,t,$(filter %.c,$(ALL_TESTS))): $(B)/t/%: $$(call source_of,$$*) \
  $$(call test_lib,$$(call module_of,$$*))
	$(say) TEST $*
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) $(WITH_FLAGS) $(call TEST_WORDS,$*) -MT $@ -MF $@.d -o $@ $< $(filter %.a %.o,$^) \
	  $(if $(DROPIN),-Wl$(comma)-z$(comma)muldefs) $(LDFLAGS) -lm $(WITH_LIBS) \
	  $(if $(filter %/$*.c,$(WITH_CLIENT)),$(CLIENT_LIBS)) $(LDLIBS)
$(call programs,dist,$(call named,test_api_%.c,$(ALL_TESTS))): $(B)/dist/%: \
  $$(call source_of,$$*) $$(call dist_of,$$*) | $(ONE_CACHE) $(ONE_GUESTS)
	$(say) TEST "$* (drop-in)"
	$(Q)$(CC) -D_GNU_SOURCE -Idist -Idist/include -I. $(CPPFLAGS) -std=c11 -pthread $(WARN) $(CFLAGS) \
	  $(SAN_FLAGS) $(call TEST_O,-O0 -g0) -MMD -MP -MT $@ -MF $@.d -o $@ $< $(call dist_of,$*) \
	  $(LDFLAGS) -lm $(LDLIBS)
$(call dist_obj,cellar) $(call dist_obj,cellar_all): $(call dist_obj,%): dist/%.c dist/%.h
	$(say) CC $<
	$(Q)mkdir -p $(@D)
	$(Q)echo '$(CPPFLAGS) -std=c11 $(WARN) $(CFLAGS) $(SAN_FLAGS) $(DIST_LEVEL) ' >$@.words
	$(Q)$(CC) $(CPPFLAGS) -std=c11 $(WARN) $(CFLAGS) $(SAN_FLAGS) $(DIST_LEVEL) -c -o $@ $< \
	  2>$@.said; \
	  status=$$?; cat $@.said >&2; exit $$status
# A build that only serves a check compiles the library once: its examples link what its tests do.
LEAN      = $(strip $(SAN)$(DROPIN)$(PLAIN))
EX_LIB    = $(if $(LEAN),$(call test_lib,all),$(B)/libcellar.a)
EX_LIBS   = $(if $(LEAN),,$(MI_LIBS)) $(WITH_LIBS)
WARN_CXX  = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wold-style-cast \
            -Wzero-as-null-pointer-constant -Wnon-virtual-dtor
$(B)/examples/%_cc: $(EXAMPLE)/%.cc $(EX_LIB)
	$(say) CXX examples/$*
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) -std=c++17 -Iinclude $(CPPFLAGS) -pthread $(WARN_CXX) $(CXXFLAGS) $(SAN_FLAGS) \
	  -MMD -MP -MT $@ -MF $@.d -o $@ $< $(EX_LIB) $(EX_LIBS) $(LDFLAGS) $(LDLIBS)
$(B)/examples/patterns: EX_LIBS += $(PCRE2_WORDS)
$(B)/examples/embeddings: EX_LIBS += -lm
$(B)/examples/html_pages $(B)/examples/triggers: EX_LIBS += -lsqlite3
$(B)/examples/uv_loop: EX_LIBS += $(UV_WORDS)
$(B)/examples/%: $(EXAMPLE)/%.c $(EX_LIB)
	$(say) CC examples/$*
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -D_GNU_SOURCE -Iinclude $(CPPFLAGS) -std=c11 -pthread $(WARN) $(CFLAGS) $(SAN_FLAGS) \
	  -MMD -MP -MT $@ -MF $@.d -o $@ $< $(EX_LIB) $(EX_LIBS) $(LDFLAGS) $(LDLIBS)

# The seed of everything random in test and check is a checksum of the library. A commit that passed
# passes again, and each change of the library meets new schedules. SEED=random draws a seed.
SEED_OF_TREE   = $(shell cat $(sort $(wildcard src/*/*.[ch] src/*/*/*.[ch] include/*.h)) | cksum | \
                   cut -d' ' -f1)
SEED_AT_RANDOM = $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
SEED_GIVEN    := $(SEED)
ifeq ($(SEED_GIVEN),)
override SEED := $(SEED_OF_TREE)
else ifeq ($(SEED_GIVEN),random)
override SEED := $(SEED_AT_RANDOM)
endif
# Each second program in the order of their names.
OTHER_HALF    := $(if $(T_HALF),$(shell printf '%s\n' $(sort $(TESTS_C) $(EXAMPLES) $(EXAMPLESXX)) | \
                   $(AWK) '(NR + $(SEED) + $(T_HALF)) % 2'))
tell_seed      = @echo "seed: $(SEED) (again: SEED=$(SEED))"

# Tests of fork start threads in the child, which TSan allows only on request.
export TSAN_OPTIONS ?= die_after_fork=0
export CC CXX AR SEED AUDIT T_WRAP
export CELLAR_BUILD = $(B)
export CELLAR_BIN = $(B)/cellar$(EXE)
export CELLAR_SO = $(B)/$(SO)
export CELLAR_A = $(B)/libcellar.a
export CELLAR_HARDENED = $(if $(HARDEN),1)
export CELLAR_LIBS = $(strip $(MI_LIBS) $(WITH_LIBS))
export CELLAR_DIST = $(call dist_obj,cellar)

NEED_LIB = $(strip $(if $(LEAN),,$(if $(T),$(TESTS_SH) $(TESTS_API),yes)))
RUN_SIM  = $(if $(LEAN)$(T_PART),,$(if $(filter * simulation,$(TEST_NAMES)),$(wildcard $(SIM)/main.c)))
# These wait for time-outs and disks longer than they compute: they have a worker of their own. The
# harness compares times to a hundredth, so it starts first, beside the test that computes least.
TESTS_WAIT = bench_disk api_disk api_disk_restart api_disk_write api_keep packaging_docs \
             bench_limit load_storm load_timeouts \
             cache_disk_heals cache_unread l2_frozen log_slow work_behind
waits_of   = $(foreach t,$(TESTS_WAIT:%=/test_%),$(filter %$(t) %$(t).sh,$(1)))
WAITING    = $(call waits_of,$(TESTS_SH) $(RUN_C) $(RUN_DIST))
WORKING    = $(filter-out $(WAITING),$(filter %/test_bench_harness,$(RUN_C)) $(RUN_SIM) \
             $(TESTS_SH) $(RUN_DIST) $(filter-out %/test_bench_harness,$(RUN_C)))
items      = $(foreach i,$(1),$(if $(filter $(SIM)/%,$(i)),\
               't|simulation|$(B)/simdrv --work $(if $(SAMPLED),1,3)',\
               $(if $(filter $(B)/dist/%,$(i)),'t|dist/$(notdir $(i))|$(i)',$(i))))
# The longest single compilations come first, here and among the items of test-now.
test-programs: $(DIST_O) $(if $(RUN_SIM),build/sim) $(RUN_C) $(RUN_DIST) \
  $(RUN_EX) $(if $(NEED_LIB),lib $(if $(CLI),build/cellar) $(if $(TESTS_SH),dropin man)) \
  $(if $(filter tests/unit/python/%,$(TESTS_SH)),python)
## test: build and run all tests (T=name one of them, SAN=address|undefined|thread, SEED=n|random,
## AUDIT=1, SHARE=1 all repetitions)
#
# The drop-in is made in a make of its own, and the second make does not look at it again (-o). A
# target that waits for a file that is being made is visited again only after all others: the
# longest compilation would start last.
test: names
	$(Q)sh src/tools/deps.sh build
	$(if $(RUN_DIST),$(Q)$(MAKE) --no-print-directory dropin)
	$(Q)$(MAKE) --no-print-directory $(if $(RUN_DIST),-o build/dropin-words) test-now SEED=$(SEED)
## test-core: the tests of the library without its guests, on that library; T= and SAN= as above
test-core:
	$(Q)$(MAKE) --no-print-directory test CORE=1
names:
	$(if $(NO_TEST),@$(AWK) -v names='$(NO_TEST)' -f $(SUPPORT)/nearest.awk \
	  $(foreach f,$(ALL_TESTS) $(wildcard $(EXAMPLE)/*.c*) tests/simulation,'$(f)'))
test-now: names test-programs
	$(tell_seed)
	$(Q)T_SHARE=$(or $(T_PART),$(SHARE)) sh $(SUPPORT)/run.sh -l $(or $(T_LIMIT),300) -o $(B)/log \
	  $(call items,$(WAITING)) 'w|' $(call items,$(WORKING)) \
	  $(foreach e,$(RUN_EX),$(call run_example,$(e))) \
	  $(foreach e,$(filter $(TEST_NAMES:*=%),$(LACK_LIB)),'s|examples/$(e)|its library is not installed') \
	  $(foreach e,$(filter $(TEST_NAMES:*=%),$(NOT_ASAN)),'s|examples/$(e)|ASan hangs in its children') \
	  $(if $(WHY_NO_CXX),$(foreach e,$(EXAMPLESXX),'s|$(e)|$(strip $(WHY_NO_CXX))')) \
	  $(if $(LEFT_OUT),$(if $(LEAN),,'s|remote tests|$(if $(CLIENT_LIBS),make check runs them,$(NO_CLIENT))')) \
	  $(foreach t,$(basename $(notdir $(ONE_THREAD))),'s|$(t)|has one thread') \
	  $(if $(OTHER_HALF),'s|$(words $(OTHER_HALF)) programs|SEED chose the other half')
# For scripts: the seed of test and check.
seed:
	@echo $(SEED)

# The schedule driver: $(SIM)/ and every library source, built to yield at each seam.
SIM_SRC := $(filter-out $(if $(CORE),$(OF_GUESTS)),$(wildcard $(SIM)/*.c))
$(B)/libsim.a: $(OBJ_SIM)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^
$(B)/sim/main/%.o: $(SIM)/%.c
	$(say) CC "sim/$*"
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) $(SIM_WORDS) -c -o $@ $<
$(B)/simdrv: $(SIM_SRC:$(SIM)/%.c=$(B)/sim/main/%.o) $(B)/libsim.a
	$(say) LD $@
	$(Q)$(LINK) -o $@ $^ -lm $(WITH_LIBS) $(LDLIBS)
build/sim: $(B)/simdrv
	$(call link,simdrv,sim)

# The same program with the seeded mistakes. The copy comes first wherever a file is included by its
# name in quotes. Each mistake is chosen at run time: one build serves all.
MUTANTS  := tests/concurrency/mutants
MUTATED   = $(B)/mutants
MUT_WORDS = -iquote $(MUTATED) -iquote $(MUTATED)/src/core -iquote $(MUTATED)/src/guests \
            -include $(SIM)/mutant.h $(SIM_WORDS)
$(MUTATED)/done: $(MUTANTS) $(MUTANTS)/plant.sh $(SIM)/mutants.txt \
  $(wildcard $(MUTANTS)/*.diff src/*/*/ src/*/*/*.[ch])
	$(say) PATCH $(MUTATED)/src
	$(Q)sh $(MUTANTS)/plant.sh $(MUTATED) && touch $@
$(OBJ_SIM:$(B)/sim/%=$(MUTATED)/%): $(MUTATED)/%.o: $(B)/sim/%.c $(MUTATED)/done
	$(say) CC "$* (mutants)"
	$(Q)$(COMPILE) $(ID) $(WITH_FLAGS) $(call TEST_O,-g1) $(MUT_WORDS) -c -o $@ $<
$(MUTATED)/resp.o: $(PAGE)
$(MUTATED)/main/%.o: $(SIM)/%.c $(MUTATED)/done
	$(say) CC "sim/$* (mutants)"
	$(Q)mkdir -p $(@D)
	$(Q)$(COMPILE) $(MUT_WORDS) -c -o $@ $<
$(B)/simdrv-mutants: $(SIM_SRC:$(SIM)/%.c=$(MUTATED)/main/%.o) $(OBJ_SIM:$(B)/sim/%=$(MUTATED)/%)
	$(say) LD $@
	$(Q)$(LINK) -o $@ $^ -lm $(WITH_LIBS) $(LDLIBS)
build/sim-mutants: $(B)/simdrv-mutants
	$(call link,simdrv-mutants,sim-mutants)
.PHONY: test test-core test-now test-programs names seed build/sim \
  build/sim-mutants
