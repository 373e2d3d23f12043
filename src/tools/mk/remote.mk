# SPDX-License-Identifier: MIT
#
# remote.mk: what REMOTE=1 adds: libcellar-remote, the program with it, its drop-in pair.
#
# PICTURE    SRC + SRC_REMOTE -> libcellar-remote.a .so (all of libcellar and the remote tier)
#            include/cellar_remote.h + SRC_REMOTE -> dist/cellar_remote.h, dist/cellar_remote.c
# HIREDIS    HAVE_REMOTE of optional.mk is 1 if REMOTE=1 and hiredis is there. Without hiredis one
#            sentence names the package, and the build is the one without REMOTE=1.
# INVARIANT  No object of libcellar depends on REMOTE: the objects of both builds are the same.

NO_HIREDIS = the remote tier needs libhiredis-dev, which is missing here: built without it
REMOTE_LIBS = $(if $(HAVE_REMOTE),-lhiredis)

OBJ_REMOTE     = $(REMOTE_SRC:src/%.c=$(B)/lib/%.o)
OBJ_DBG_REMOTE = $(REMOTE_SRC:src/%.c=$(B)/dbg/%.o)
SO_REMOTE      = libcellar-remote.so.$(VERSION)

ifeq ($(HAVE_REMOTE),1)
remote: $(B)/libcellar-remote.a $(B)/$(SO_REMOTE) dropin-remote
	$(call link,libcellar-remote.a,libcellar-remote.a)
	$(call link,$(SO_REMOTE),libcellar-remote.so)
	$(call link,$(SO_REMOTE),libcellar-remote.so.$(ABI))
else
remote:
	@echo "$(NO_HIREDIS)"
endif
.PHONY: remote

# The archive is one object with local hidden names, as libcellar.a is.
$(B)/cellar-remote.o: $(OBJ_LIB) $(OBJ_REMOTE)
	$(say) LD $@
	$(Q)$(CC) $(LDFLAGS) -nostdlib -r -o $@ $^
	$(Q)$(OBJCOPY) --localize-hidden $@
$(B)/libcellar-remote.a: $(B)/cellar-remote.o
	$(say) AR $@
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^
$(B)/libcellar-remote.map: src/tools/symbols.txt include/cellar.h
	$(say) GEN $@
	$(Q)mkdir -p $(@D)
	$(Q)$(AWK) -v node=CELLAR_$(ABI) 'BEGIN { print node " {\nglobal:" } \
	  /^[a-z]/ { print "    " $$1 ";" } END { print "local:\n    *;\n};" }' $< >$@
$(B)/$(SO_REMOTE): $(OBJ_LIB) $(OBJ_REMOTE) $(B)/libcellar-remote.map
	$(say) LD $@
	$(Q)$(LINK) -shared -Wl,-soname,libcellar-remote.so.$(ABI) \
	  $(if $(SAN),,-Wl$(comma)-z$(comma)defs) -Wl,-z,nodelete $(RELRO) \
	  -Wl,--version-script=$(B)/libcellar-remote.map -o $@ \
	  $(OBJ_LIB) $(OBJ_REMOTE) $(MI_LIBS) $(WITH_LIBS) $(REMOTE_LIBS) $(LDLIBS)
# The program with the remote tier: two of its files are compiled a second time.
OBJ_CLI_REMOTE = $(B)/remote/cli/tour.o $(B)/remote/cli/remote.o
$(B)/remote/%.o: src/%.c | $(B)/.uthash
	$(say) CC "$* (remote)"
	$(Q)mkdir -p $(@D)
	$(Q)$(PRODUCT) -DCELLAR_WITH_REMOTE=1 -c -o $@ $<
$(B)/remote/cellar: $(B)/cli/cli/main.o $(filter-out %/tour.o %/remote.o,$(OBJ_BOTH)) \
  $(OBJ_CLI_REMOTE) $(OBJ_LIB) $(OBJ_REMOTE)
	$(say) LD $@
	$(Q)$(link_program) $(REMOTE_LIBS) -lm $(LDLIBS)
