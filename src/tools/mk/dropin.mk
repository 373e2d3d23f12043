# SPDX-License-Identifier: MIT
#
# dropin.mk: the drop-in, the documentation and the release archive, all below dist/.
#
# PICTURE    HEADERS_CACHE + SRC_CORE -- amalgamate.awk --> dist/cellar.h, .c
#            HEADERS + SRC -- amalgamate.awk --> dist/cellar_all.h, dist/cellar_all.c
#            names of HEADERS --> dist/include/*.h, one line each: the header of the pair
#            include/*.h, program's --help -- apidoc.awk, mdoc.awk --> dist/doc/man?
#            README.md, include/*.md, include/*.h, .hpp -- apidoc.awk, cppdoc.awk, site.awk --> dist/doc/*.html
#            tree + drop-in --> dist/cellar-VERSION.tar.gz, .spdx.json, dist/SHA256SUMS
#            archive + src/tools/package/debian --> build/deb/*.deb

# The drop-in depends on the sources, the licence and the words in build/dropin-words: two settings
# and the source id, so that a new commit makes new pairs.
UTHASH   ?= $(if $(UTHASH_DIR),$(UTHASH_DIR)/uthash.h,$(shell echo '$(hash)include <uthash.h>' | \
  $(CC) $(CPPFLAGS) -E - 2>/dev/null | sed -n 's/^$(hash) 1 "\(.*uthash\.h\)".*/\1/p' | head -n 1))
FOLD      = $(AWK) -v version='$(VERSION)$(DEV)' -v source_id='$(SOURCE_ID)' -v uthash='$(UTHASH)' \
            -v lines='$(LINES_WANTED)' -f src/tools/amalgamate.awk
FOLD_cellar     = $(FOLD) -v pair=cellar -v headers='$(HEADERS_CACHE)' \
                  -v src='$(SRC_CORE)'
FOLD_cellar_all = $(FOLD) -v pair=cellar_all -v headers='$(HEADERS)' -v src='$(SRC)'
LINES_WANTED = $(if $(filter 1,$(LINES)),1)
DROPIN_WORDS = $(SOURCE_ID) $(UTHASH) $(LINES_WANTED)
build/dropin-words: FORCE
	$(call keep_if_same,$(DROPIN_WORDS))
DROPIN_FROM = $(SRC) $(wildcard src/*/*/*.h) $(HEADERS) src/tools/amalgamate.awk LICENSE \
              build/dropin-words
dist/cellar.h dist/cellar_all.h: dist/%.h: $(DROPIN_FROM)
	$(say) GEN $@
	$(Q)mkdir -p dist
	$(Q)$(FOLD_$*) -v what=h >$@.tmp && mv $@.tmp $@
dist/cellar.c dist/cellar_all.c: dist/%.c: $(DROPIN_FROM)
	$(if $(UTHASH),,$(Q)$(no_uthash))
	$(say) GEN $@
	$(Q)mkdir -p dist
	$(Q)$(FOLD_$*) -v what=c >$@.tmp && mv $@.tmp $@
dist/cellar_all.c: $(PAGE)
dist/cellar.hpp: $(WRAPPER)
	$(Q)mkdir -p dist && cp $< $@
# Code that includes the installed headers finds these: -Idist -Idist/include.
one_line  = $(Q)mkdir -p $(@D); echo '$(hash)include "$(1).h" /* the drop-in has it there */' >$@
ONE_CACHE  := $(patsubst include/%,dist/include/%,$(filter-out include/cellar.h,$(HEADERS_CACHE)))
ONE_GUESTS := $(patsubst include/%,dist/include/%,$(HEADERS_GUESTS))
$(ONE_CACHE): Makefile $(MK)/dropin.mk
	$(call one_line,cellar)
$(ONE_GUESTS): Makefile $(MK)/dropin.mk
	$(call one_line,cellar_all)
PAIR_FILES = $(foreach p,cellar cellar_all,dist/$(p).h dist/$(p).c)
dropin: $(PAIR_FILES) dist/cellar.hpp $(ONE_CACHE) $(ONE_GUESTS)

# The documentation is made from the contracts. Its date is that of the commit, so that one commit
# gives the same bytes everywhere.
EPOCH   := $(or $(SOURCE_DATE_EPOCH),$(word 2,$(CARRIED)),$(shell git log -1 --format=%ct 2>/dev/null),0)
DATE     = $(shell date -u -d @$(EPOCH) '+%B %d, %Y' 2>/dev/null | sed 's/ 0/ /')
GUIDES   = $(filter-out %/README.md %/cpp.md %/moving.md %/settings.md %/when-not.md,$(sort $(wildcard include/*.md)))
APIDOC   = $(AWK) -v out=dist/doc -v symbols=src/tools/symbols.txt -v version='$(VERSION)$(DEV)' \
           -v date='$(DATE)' -v readme='$(wildcard README.md)' -v guides='$(GUIDES)' \
           -f src/tools/apidoc.awk -f src/tools/mdoc.awk
HELPS     = $$($(B)/cellar$(EXE) --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
# The pages of the site in the order of its contents: groups, and the pages of each.
md        = $(wildcard $(patsubst %,include/%.md,$(1)))
START     = $(wildcard README.md) $(call md,guide load invalidate disk event-loop)
OPERATION = $(call md,production watch settings debug) $(wildcard .github/SECURITY.md) $(call md,when-not moving)
FIRST     = $(call md,life listen rules limits work kit port processes remote objects cpp)
TOPICS    = $(FIRST) $(filter-out $(START) $(FIRST) $(OPERATION) include/README.md,$(sort $(wildcard include/*.md)))
PROJECT   = $(wildcard .github/CHANGES.md .github/CONTRIBUTING.md src/README.md src/cli/README.md tests/README.md bench/results.md \
              bench/README.md bench/fairness.md bench/paper.md bench/*/README.md LICENSE)
PAGES     = $(START) $(TOPICS) $(OPERATION) $(call md,README) $(PROJECT)
# Programs in the order of the table in their README; headers and tests that pages name stand behind.
PROGRAMS_NAMED = $(sort $(shell grep -oh 'tests/examples/[a-z0-9_/]*\.[a-z]*' /dev/null $(wildcard README.md include/*.md include/*.h)))
PROGRAMS  = $(wildcard tests/examples/README.md $(shell awk -F'[][()]' '/^\| \[.*\./ { print "tests/examples/" $$4 }' /dev/null \
              $(wildcard tests/examples/README.md))) $(filter %.py,$(PROGRAMS_NAMED))
PROGRAM_HEADERS = $(sort $(wildcard tests/examples/*.h))
PROGRAM_TESTS = $(filter-out $(PROGRAMS),$(filter %.c %.cc,$(PROGRAMS_NAMED)))
dist/doc/done: $(HEADERS) $(WRAPPER) src/tools/apidoc.awk src/tools/mdoc.awk src/tools/cppdoc.awk $(wildcard src/tools/site.*) src/tools/words.txt \
  src/tools/symbols.txt $(PAGES) $(PROGRAMS) $(PROGRAM_HEADERS) $(PROGRAM_TESTS) $(wildcard tests/examples/*.txt bench/reads.svg include/life.svg) $(if $(CLI),$(B)/cellar$(EXE))
	$(say) GEN dist/doc
	$(Q)rm -rf dist/doc && mkdir -p dist/doc/man1 dist/doc/man3 dist/doc/man7
	$(Q)$(APIDOC) -v mode=man $(HEADERS)
	$(Q)$(APIDOC) -v mode=html $(HEADERS)
	$(Q)$(AWK) -f src/tools/cppdoc.awk $(WRAPPER) >>dist/doc/calls.html && mv dist/doc/calls.html dist/doc/contracts.html
	$(Q)$(AWK) -v version='$(VERSION)$(DEV)' -v out=dist/doc -v calls=dist/doc/contracts.html -v words=src/tools/words.txt \
	  -f src/tools/site.awk \
	  part=Start $(START) part=Topics $(TOPICS) part=Operation $(OPERATION) part=Programs $(PROGRAMS) part='Headers of programs' $(PROGRAM_HEADERS) \
	  part=Reference $(call md,README) dist/doc/contracts.html part=Project $(PROGRAM_TESTS) $(PROJECT) && rm dist/doc/contracts.html
	$(Q)cp src/tools/site.css src/tools/site.js dist/doc
	$(if $(CLI),$(Q){ $(B)/cellar$(EXE) --help; for c in $(HELPS); do echo "== $$c"; \
	  $(B)/cellar$(EXE) $$c --help; done; } | $(APIDOC) -v mode=program)
	$(Q)touch $@
## man: man pages and the site, dist/doc/index.html, made from README, guide and contracts
man: dist/doc/done

## dist: the drop-in pairs cellar and cellar_all, dist/cellar.hpp, documentation, tar.gz with
## checksums and bill of materials (archive: without the documentation)
dist: archive man
ARCHIVE   = cellar-$(VERSION)$(DEV)
PAIRS     = $(foreach p,cellar cellar_all,$(p).h $(p).c) cellar.hpp \
            $(patsubst dist/%,%,$(ONE_CACHE) $(ONE_GUESTS))
SBOM      = $(ARCHIVE).spdx.json
# Build files for users of CMake, Meson and Conan. The repository has them in src/tools/package alone.
TOP_FILES = CMakeLists.txt meson.build meson_options.txt conanfile.py
# The unpacked archive lists its own files: it may lie in the repository of another project.
LIST      = $(if $(CARRIED),,git ls-files -co --exclude-standard 2>/dev/null ||) find . -type f \
            ! -path './build/*' ! -path './dist/*'
archive: dropin
	$(say) GEN dist/$(ARCHIVE).tar.gz
	$(Q)rm -rf build/tar && mkdir -p build/tar/$(ARCHIVE)/dist
	$(Q){ $(LIST); } | tar -cf - -T - | tar -xf - -C build/tar/$(ARCHIVE)
	$(Q)cd dist && tar -cf - $(PAIRS) | tar -xf - -C ../build/tar/$(ARCHIVE)/dist
	$(Q)cd src/tools/package && for f in $(TOP_FILES); do \
	  sed 's/@VERSION@/$(VERSION)/' $$f >../../../build/tar/$(ARCHIVE)/$$f || exit 1; done
	$(if $(COMMIT),$(Q)echo '$(COMMIT) $(EPOCH)' >build/tar/$(ARCHIVE)/src/tools/commit)
	$(Q)tar --sort=name --mtime=@$(EPOCH) --mode=a+rX,u+w,go-w --owner=0 --group=0 --numeric-owner \
	  -C build/tar -cf - $(ARCHIVE) | gzip -9n >dist/$(ARCHIVE).tar.gz
	$(Q)rm -rf build/tar
	$(Q)sh src/tools/sbom.sh '$(VERSION)$(DEV)' '$(COMMIT)' $(EPOCH) '$(UTHASH)' dist/$(ARCHIVE).tar.gz \
	  >dist/$(SBOM)
	$(Q)cd dist && sha256sum $(PAIRS) $(ARCHIVE).tar.gz $(SBOM) >SHA256SUMS && \
	  cat SHA256SUMS

## deb: packages of Debian, below build/deb, from the archive (DEB_VERSION another version)
DEB_VERSION = $(VERSION)$(if $(DEV),~dev)
DEB       = build/deb/cellar-$(DEB_VERSION)
deb: archive
	$(Q)rm -rf build/deb && mkdir -p $(DEB)
	$(Q)tar -xzf dist/$(ARCHIVE).tar.gz --strip-components=1 -C $(DEB)
	$(Q)cp dist/$(ARCHIVE).tar.gz build/deb/cellar_$(DEB_VERSION).orig.tar.gz
	$(Q)cp -r src/tools/package/debian $(DEB)
	$(Q)printf 'cellar (%s-1) unstable; urgency=medium\n\n  * Release %s.\n\n -- %s  %s\n' \
	  '$(DEB_VERSION)' '$(DEB_VERSION)' "$$(sed -n 's/^Maintainer: //p' $(DEB)/debian/control)" \
	  "$$(date -u -R -d @$(EPOCH))" >$(DEB)/debian/changelog
	$(Q)cd $(DEB) && env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS -u CC -u CXX -u CFLAGS dpkg-buildpackage -us -uc

# The program for a machine of this kind, or by a cross compiler, which has no uthash.h of its own.
cross     = $(if $(filter $(*F:cellar-%=%),$(shell uname -m)),,$(*F:cellar-%=%)-linux-gnu-)
dist/static/%: FORCE
	$(Q)mkdir -p build/uthash $(@D) && cp '$(UTHASH)' build/uthash
	$(Q)set -- STATIC=1 NOLINK=1 ALL_LIBS= UTHASH_DIR=build/uthash $(if $(cross),CC=$(cross)gcc \
	  CXX=$(cross)g++ AR=$(cross)ar OBJCOPY=$(cross)objcopy); $(MAKE) --no-print-directory "$$@" all && \
	  $(cross)strip -o $@ "$$($(MAKE) -s "$$@" where)/cellar-static"
## release: all files of a release with their checksums in dist/release: archive, bill of materials, sdist,
## wheel, static programs for x86-64 and arm64
release: archive wheel dist/static/cellar-x86_64 dist/static/cellar-aarch64
	$(Q)rm -rf dist/release && mkdir dist/release
	$(Q)cp dist/$(ARCHIVE).tar.gz dist/$(SBOM) build/cellar_cache-$(PYTHON_VERSION)* dist/release
	$(Q)for f in x86_64 aarch64; do cp dist/static/cellar-$$f dist/release/$(ARCHIVE)-linux-$$f || exit 1; done
	$(Q)cd dist/release && sha256sum * >SHA256SUMS && cat SHA256SUMS
.PHONY: dropin man archive dist deb release
