# SPDX-License-Identifier: MIT
#
# check.mk: form of the sources, `make check` and `make check-matrix`.
#
# LANES      A lane is an item of run.sh: a command that ends with a closing line (t), or one
#            that counts by its exit status (x). Short lanes and those that keep every processor busy come first and
#            run alone, builds above all: of two lanes that run together, none may build what the
#            other uses. After the item j| two lanes run together: those with work for one processor
#            first, the guard above all, and those that keep each processor busy last. Then no
#            processor is idle at the end. No lane measures time: the guard counts instructions.
# SCRIPTS    slow_*.sh below tests/ are lanes of check, matrix_*.sh lanes of check-matrix.

FLOORS    = $(AWK) -v listed='$(SRC)' -v guests='$(GUESTS)' \
  -v guest_headers='$(notdir $(HEADERS_GUESTS))' \
  -v guest_base='$(GUEST_BASE) environment' -f src/tools/code.awk -f src/tools/floors.awk
ALL_FILES = $(sort $(wildcard src/*/*.[ch] src/*/*/*.[ch] include/*.h))
## floors: includes point down, inside modules too; the core includes no guest; SRC complete; no conditional outside base, no
## banned call; the largest circle of files and the header with the most prototypes
floors:
	$(Q)$(FLOORS) src/tools/floors.txt $(ALL_FILES)
## form: floors, and every line longer than 100
form:
	$(Q)$(FLOORS) -v form=1 src/tools/floors.txt $(ALL_FILES)
## language: words, function comments, paragraphs and essays that break the rules of plain English
LANGUAGE_FILES = $(shell find src include tests bench -name '*.[ch]' -o -name '*.cc' -o \
  -name '*.md' -o -name '*.sh' -o -name '*.awk' -o -name '*.mk') README.md Makefile
language:
	$(Q)$(AWK) -f src/tools/language.awk $(LANGUAGE_FILES)
## contracts: every public function has its contract, an example and a line in src/tools/symbols.txt
contracts:
	$(Q)$(AWK) -v mode=check -v symbols=src/tools/symbols.txt -f src/tools/apidoc.awk -f src/tools/mdoc.awk $(HEADERS)
## symbols: exported names of the shared library, the archive and the drop-in against the list
symbols: lib dropin
	$(Q)sh $(PACKAGE)/slow_packaging_symbols.sh
# The description that a library of this version must fit, for each processor. The commit before a
# release writes it.
ABI_FILE  = tests/data/0.3/$(firstword $(subst -, ,$(MACHINE))).abi.xz
## abi: the ABI of the shared library against that of the release, tests/data/0.3 (abi-write stores it)
abi: lib
	$(Q)sh src/tools/abi.sh check $(ABI_FILE) $(B)/$(SO) include
abi-write: lib
	$(Q)sh src/tools/abi.sh write $(ABI_FILE) $(B)/$(SO) include
# Files of this version, which each later one opens. The commit before a release writes them as well.
kept-write: $(B)/t/test_kept_files
	$(Q)KEPT_FILES=tests/data/0.3/files.tar.xz $< files_of_this_version
## figures: sizes of core, guests, drop-in, interface, README and tests; files that a call runs through
## (SQLITE3_C=path of sqlite3.c: the time to compile the drop-in and that file, too)
figures: dropin lib
	+$(Q)sh src/tools/figures.sh
## deps: look for what is missing and, as root, install it (GROUP=build|test|check|bench|torture)
GROUP ?= build
deps:
	$(Q)sh src/tools/deps.sh $(GROUP)
## thread-safety: lock facts that clang checks: guarded fields, ranks, order
thread-safety: $(PAGE) $(MODULES:%=$(B)/sim/%.c)
	$(Q)$(CLANG) $(CPP_OWN) -I$(MADE) -I. $(CPPFLAGS) -std=c11 -DBASE_DEBUG=1 -DCELLAR_SOURCE_ID='""' \
	  -Wthread-safety -Wthread-safety-beta -Werror -fsyntax-only $(MODULES:%=$(B)/sim/%.c)
CLANG    ?= $(or $(shell command -v clang-19),$(shell command -v clang))

# A make that a script starts does not share the jobs of the first make: each has its own -j.
SUITE_OF  = $(MAKE) -j$(CPUS) --no-print-directory test-now T="$(1)" T_LIMIT=300 NOLINK=1
SUITE_IN  = $(call SUITE_OF)
BUILD_OF  = $(MAKE) -j$(CPUS) --no-print-directory test-programs NOLINK=1
ASAN_OF   = SAN=address$(comma)undefined
TSAN_OF   = SAN=thread $(TSAN_WORDS)
# TSan of gcc 12 does not start where the kernel randomizes more than 28 bits of addresses.
NO_ASLR  := $(shell [ "$$(cat /proc/sys/vm/mmap_rnd_bits 2>/dev/null || echo 0)" -gt 28 ] && \
              echo setarch -R)
LANES_QUICK = 'x|form|$(MAKE) -s form' 'x|language|$(MAKE) -s language' \
  'x|contracts|$(MAKE) -s contracts' \
  't|symbols|$(MAKE) -s symbols' 't|install|sh $(PACKAGE)/slow_packaging_install.sh' \
  't|drop-in: one cell|QUICK=1 sh $(PACKAGE)/slow_packaging_dropin.sh'
# ASan takes one half of the programs with an eighth of the repetitions, TSan the other with a tenth.
# The programs of the suite under ASan, and the scripts of `make test` outside of package/, run as
# on a machine that has just booted: their clocks began three seconds ago, if the kernel allows a
# time name space. All api tests on the drop-in are a cell of slow_packaging_dropin.sh.
# The tests of the remote tier, with a quarter of their repetitions; those that read bytes of a stranger once
# more under sanitizers.
REMOTE_IN = $(MAKE) -j$(CPUS) --no-print-directory $(1) NOLINK=1 SHARE=$(or $(2),4) T="remote_*"
REMOTE_SAN_IN = $(MAKE) -j$(CPUS) --no-print-directory $(1) NOLINK=1 \
  SAN=address$(comma)undefined T="$(REMOTE_FUZZ:test_%=%)"
REMOTE_FUZZ = $(basename $(notdir $(call in_dirs,test_remote_*fuzz*.c)))
LANES_REMOTE_BUILD = 'x|build: remote|$(call REMOTE_IN,test-programs)' \
  $(if $(REMOTE_FUZZ),'x|build: remote$(comma) ASan + UBSan|$(call REMOTE_SAN_IN,test-programs)')
LANES_REMOTE = 't|remote|$(call REMOTE_IN,test-now)' \
  $(if $(REMOTE_FUZZ),'t|remote: ASan + UBSan|$(call REMOTE_SAN_IN,test-now)')
YOUNG    := $(shell sh $(SUPPORT)/young.sh true >/dev/null 2>&1 && echo sh $(SUPPORT)/young.sh)
OF_BOOT   = $(comma) 3 s after boot
YOUNG_SH  = $(basename $(notdir $(filter-out $(PACKAGE)/%,$(TESTS_SH))))
TSAN_CC  := $(if $(wildcard /usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.tsan*),\
              $(shell command -v clang-19))
TSAN_CC  := $(strip $(TSAN_CC))
TSAN_WORDS = $(if $(TSAN_CC),CC=$(TSAN_CC) CXX=$(call cxx_of,$(TSAN_CC)))
ASAN_SUITE = $(SUITE_IN) T_PART=8 $(ASAN_OF) T_WRAP="$(YOUNG)"
TSAN_SUITE = $(SUITE_IN) T_PART=10 $(TSAN_OF) T_WRAP="$(NO_ASLR)"
LANES_AT_ONCE ?= 2
LANES     = 'x|form|$(MAKE) -s form' 'x|language|$(MAKE) -s language' \
  'x|contracts|$(MAKE) -s contracts' \
  'x|build: plain suite|$(BUILD_OF) T=' \
  't|pages and pairs|$(MAKE) -j$(CPUS) --no-print-directory test-now NOLINK=1 T="$(TESTS_PAGES)"' \
  'x|build: no libraries|$(MAKE) -j$(CPUS) --no-print-directory all NOLINK=1 ALL_LIBS= CFLAGS=-O0' \
  'x|build: ASan + UBSan|$(BUILD_OF) $(ASAN_OF) T_HALF=1' \
  'x|build: random calls$(comma) l2 proof|$(BUILD_OF) $(ASAN_OF) T="calls_fuzz l2_damage"' \
  'x|build: TSan|$(BUILD_OF) $(TSAN_OF) T_HALF=2' \
  $(if $(CLIENT_LIBS),$(LANES_REMOTE_BUILD)) 'j|$(LANES_AT_ONCE)' \
  $(if $(wildcard bench/guard.c),'t|guard|$(MAKE) -s guard') \
  $(if $(CLIENT_LIBS),$(LANES_REMOTE),'s|remote|$(NO_CLIENT)') \
  $(if $(SIM_SRC),'t|simulation|SIM_SECONDS=40 SIM_FLIGHTS=500000 sh $(SIM)/run.sh') \
  $(foreach s,$(call in_dirs,slow_*.sh),'t|$(notdir $(s))|sh $(s)') \
  $(if $(CLANG),'x|lock facts (clang)|$(MAKE) -s thread-safety','s|lock facts (clang)|no clang') \
  't|half of the suite: ASan + UBSan$(if $(YOUNG),$(OF_BOOT))|$(ASAN_SUITE) T_HALF=1' \
  $(if $(YOUNG),'t|scripts$(OF_BOOT)|$(call SUITE_OF,$(YOUNG_SH)) T_PART=12 T_WRAP="$(YOUNG)"',\
  's|programs and scripts$(OF_BOOT)|no time name spaces here') \
  't|other half of the suite: TSan|$(TSAN_SUITE) T_HALF=2' \
  $(if $(wildcard $(MODEL)/run.sh),'t|models: a sixteenth of the mistakes|SHARE=16 sh $(MODEL)/run.sh')
export CELLAR_SIM = build/sim

## check: floors, contracts, lock facts, drop-in, headers, sanitizers, simulation, models, guard
## (QUICK=1: floors, contracts, symbols, install, one drop-in cell)
check:
	$(Q)sh src/tools/deps.sh check
	$(Q)$(MAKE) --no-print-directory check-now SEED=$(SEED)
check-now: lib dropin man $(if $(CLI),build/cellar) $(if $(SIM_SRC),build/sim)
	$(tell_seed)
	$(Q)sh $(SUPPORT)/run.sh -j 1 -l 1500 -o build/check-log \
	  $(if $(filter 1,$(QUICK)),$(LANES_QUICK),$(LANES))
## check-matrix: what check leaves out: all drop-in cells and switches, the suite on the drop-in,
## mutants, analysers, MSan, valgrind, aarch64
check-matrix:
	$(Q)sh src/tools/deps.sh check
	$(Q)$(MAKE) --no-print-directory matrix-now \
	  SEED=$(if $(SEED_GIVEN),$(SEED),$(SEED_AT_RANDOM))
matrix-now: lib dropin man $(if $(CLI),build/cellar) $(if $(SIM_SRC),build/sim)
	$(tell_seed)
	$(Q)sh $(SUPPORT)/run.sh -j 1 -l 3600 -o build/matrix-log $(MATRIX)
# valgrind is twenty times slower. It runs the tests that read and free memory in many ways, but not
# storms, models and speeds, which the sanitizers cover.
T_VALGRIND = base_* stats_* l1_check l1_entries l1_expiry l1_keys l1_large_value l1_many \
             l1_generation l1_pins l1_resize l1_runs l1_scan cache_* bloom_filter breaker \
             lock_keys limit_calls limit_snapshot l2_format l2_open l2_store fault_* \
             api_bad_input api_semantics api_namespaces api_process api_lease api_load \
             api_load_bad_input api_memo api_disk api_disk_restart api_disk_write api_listen \
             api_struct_sizes lin_checker
have      = $(if $(shell command -v $(1)),'$(4)|$(2)|$(3)','s|$(2)|no $(1)')
M_GCC     = CC=gcc CFLAGS=-O2 DROPIN=1
M_CLANG   = CC=clang CXX=clang++ CFLAGS="-O2 -DNDEBUG" DROPIN=1
M_FORTIFY = CFLAGS="-O2 -D_FORTIFY_SOURCE=2" SHARE=1
M_MSAN    = CC=clang-19 CXX=clang++-19 SAN=memory
M_PLAIN   = PLAIN=1 T_LIMIT=1200 T="$(T_VALGRIND)"
PROOF     = l2_crash l2_kill l2_damage l2_expiry cache_kill
# Lanes of check that do all with FULL=1.
SHARED_SH = slow_api_clear.sh slow_calls_fuzz.sh slow_cli_alone.sh slow_packaging_header.sh \
  slow_packaging_install.sh slow_packaging_pins.sh slow_packaging_python.sh slow_remote_functions.sh
MATRIX    = 'x|build: drop-in, gcc|$(BUILD_OF) $(M_GCC)' \
  $(call have,clang,build: drop-in$(comma) clang,$(BUILD_OF) $(M_CLANG),x) \
  'x|build: fortified|$(BUILD_OF) $(M_FORTIFY)' \
  'x|build: ASan + UBSan|$(BUILD_OF) $(ASAN_OF)' 'x|build: TSan|$(BUILD_OF) $(TSAN_OF)' \
  $(call have,clang-19,build: MSan,$(BUILD_OF) $(M_MSAN),x) \
  'x|build: for valgrind|$(BUILD_OF) $(M_PLAIN)' \
  $(if $(SIM_SRC),$(call have,patch,build: mutants,$(MAKE) -j$(CPUS) -s build/sim-mutants,x)) \
  'x|build: plain suite|$(BUILD_OF) T=' \
  $(if $(CLIENT_LIBS),'x|build: remote|$(call REMOTE_IN,test-programs)' \
    't|remote: all|$(call REMOTE_IN,test-now,1)') \
  'x|build: no libraries$(comma) hardened|$(MAKE) -j$(CPUS) --no-print-directory all NOLINK=1 ALL_LIBS=' \
  'x|build: l2 proof$(comma) random calls|$(BUILD_OF) T="$(PROOF)" && \
  $(BUILD_OF) $(ASAN_OF) T="calls_fuzz l2_damage"' \
  'j|$(LANES_AT_ONCE)' \
  't|drop-in: all cells and switches|FULL=1 sh $(PACKAGE)/slow_packaging_dropin.sh' \
  $(call have,valgrind,suite: valgrind,$(SUITE_IN) T_WRAP="valgrind -q --error-exitcode=99 \
    --leak-check=full --errors-for-leak-kinds=definite" $(M_PLAIN),t) \
  $(if $(SIM_SRC),$(call have,patch,mutants,sh $(SIM)/mutants.sh,t) \
  't|simulation|sh $(SIM)/run.sh' 't|simulation: a seed of its own|build/sim --check 60') \
  $(if $(wildcard $(MODEL)/run.sh),'t|models|sh $(MODEL)/run.sh') \
  $(foreach s,$(call in_dirs,slow_l2_proof.sh),'t|l2 proof: all bits|PROOF_TIMES=6 sh $(s)') \
  $(foreach s,$(call in_dirs,matrix_*.sh),'t|$(notdir $(s))|sh $(s)') \
  $(foreach s,$(call in_dirs,$(SHARED_SH)),\
    't|$(notdir $(s)): all|FULL=1 sh $(s)') \
  $(if $(YOUNG),'t|suite$(OF_BOOT)|$(SUITE_IN) T_PART=12 T_WRAP="$(YOUNG)"') \
  't|suite: ASan + UBSan|$(ASAN_SUITE)' 't|suite: TSan|$(TSAN_SUITE)' \
  't|suite on the drop-in: gcc|$(SUITE_IN) $(M_GCC)' \
  $(call have,clang,suite on the drop-in: clang,$(SUITE_IN) $(M_CLANG),t) \
  't|suite: fortified|$(SUITE_IN) $(M_FORTIFY)' \
  $(call have,clang-19,suite: MSan,$(SUITE_IN) $(M_MSAN),t)
.PHONY: floors form language contracts symbols abi abi-write kept-write figures deps thread-safety check check-now check-matrix \
  matrix-now
