# SPDX-License-Identifier: MIT
#
# proof.mk: figures that say what the tests do not see, and the hours of search before a promise.
#
# TARGETS    coverage -> build/coverage.md     src/tools/coverage.sh
#            torture -> build/torture.md       src/tools/torture.sh
#            mutation -> build/mutation.md     src/tools/mutation.sh
#            None is a part of test or check: they take from 20 minutes to many hours.

# Programs with children that are killed or leave by _exit: a profile that is written at the end would
# lack what they ran.
paren     := (
FORKING    = $(shell grep -lE '\<fork ?[$(paren)]|attack_run\.h|coherence_run\.h' $(TESTS_LIB) /dev/null)
COV_ends   = $(call programs,t,$(filter-out $(FORKING),$(TESTS_LIB)))
COV_killed = $(call programs,t,$(filter $(FORKING),$(TESTS_LIB)))
COV_sim    = $(if $(filter * simulation,$(TEST_NAMES)),$(B)/simdrv)
COV_WORDS  = -fprofile-instr-generate -fcoverage-mapping
COV_OWN_ends   = -fcoverage-mcdc
COV_OWN_killed = -mllvm -runtime-counter-relocation
COV_OWN_sim    = $(COV_OWN_killed)
# One object with the mappings of all files; nothing calls it.
COV_OBJECT = $(if $(filter sim,$(COVERAGE)),$(B)/simdrv,$(B)/mappings.so)
COV_PART   = $(MAKE) -j$(CPUS) --no-print-directory coverage-part COVERAGE=$(1) CC=clang-19 \
  CXX=clang++-19 PLAIN=1 NOLINK=1 SHARE=$(SHARE) T='$(or $(T),*)' SEED=$(SEED) CPPFLAGS='$(CPPFLAGS) -w' \
  LDFLAGS='$(LDFLAGS) -fprofile-instr-generate' DEBUG_WORDS='$(COV_WORDS) $(COV_OWN_$(1))'
COV_LACKS  = $(strip $(foreach t,clang-19 llvm-cov-19 llvm-profdata-19,$(if $(shell command -v $(t)),,$(t))))

## coverage: lines, branches, MC/DC of each module, functions never called: build/coverage.md (T= some tests)
coverage:
	$(if $(COV_LACKS),@echo 'coverage: nothing is measured without $(COV_LACKS) (make deps GROUP=torture)', \
	  $(Q)rm -rf build/coverage; $(call COV_PART,ends); $(call COV_PART,killed); \
	  $(call COV_PART,sim); sh src/tools/coverage.sh report >build/coverage.md.new && \
	  mv build/coverage.md.new build/coverage.md && echo 'coverage: build/coverage.md')
# A program that fails is told, and the others count.
coverage-part: $(if $(COV_$(COVERAGE)),$(COV_$(COVERAGE)) $(COV_OBJECT))
	$(if $^,$(Q)rm -rf $(B)/profiles; mkdir -p $(B)/profiles build/coverage; \
	  T_SHARE=$(SHARE) T_WRAP='sh src/tools/coverage.sh run' COVERAGE=$(COVERAGE) \
	  sh $(SUPPORT)/run.sh -l 600 -n $(COVERAGE) -o $(B)/coverage-log \
	    $(filter-out %/simdrv,$(COV_$(COVERAGE))) \
	    $(if $(COV_sim),$(if $(filter sim,$(COVERAGE)),'t|simulation|$$T_WRAP $(B)/simdrv --work 1')) \
	    >$(B)/coverage.said; cat $(B)/coverage.said; tail -n 1 $(B)/coverage.said >build/coverage/$(COVERAGE).said; \
	  sh src/tools/coverage.sh export $(COVERAGE) $(COV_OBJECT))
$(B)/mappings.so: $(OBJ_DBG)
	$(say) LD $@
	$(Q)$(CC) -shared -nostdlib -o $@ $^

TORTURED = cache_lives cache_history l1_linear lanes_storm load_storm l2_kill work_kill \
           object_ledger remote_attack all_soak
## torture: the programs that search, in turn, for TORTURE_HOURS (1): build/torture.md. It goes on where it stopped
TORTURE_HOURS ?= 1
torture:
	$(Q)sh src/tools/deps.sh torture
	$(Q)$(MAKE) --no-print-directory test-programs NOLINK=1 SHARE=1 T='$(TORTURED) simulation'
	$(Q)TORTURE_HOURS=$(TORTURE_HOURS) TORTURE_TREE=$(SEED_OF_TREE) sh src/tools/torture.sh

## mutation: plant N (200) mistakes that SEED draws and count those that the tests find: build/mutation.md
## (IN="src/core/lock/*" T="lock_*": of some files, by some tests). It goes on where it stopped
N ?= 200
mutation:
	$(Q)sh src/tools/deps.sh build
	$(Q)N=$(N) SEED=$(SEED) SHARE=$(SHARE) $(if $(IN),IN='$(IN)') T='$(or $(T),*)' sh src/tools/mutation.sh
# In the copy of the tree: its programs.
MUT_PROGRAMS = $(call programs,t,$(TESTS_LIB)) $(if $(filter * simulation,$(TEST_NAMES)),$(B)/simdrv)
mutation-programs: $(if $(filter mutation-programs,$(MAKECMDGOALS)),$(MUT_PROGRAMS))
mutation-list:
	@echo $(MUT_PROGRAMS)
.PHONY: coverage coverage-part torture mutation mutation-programs mutation-list
