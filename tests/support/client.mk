# SPDX-License-Identifier: MIT
#
# client.mk: the client library of the tests that ask a server themselves (engine_kit.h).

CLIENT_LIBS = $(eval CLIENT_LIBS := $(if $(call probe_link,hiredis/hiredis.h,-lhiredis),-lhiredis))$(CLIENT_LIBS)
NO_CLIENT   = no libhiredis-dev, with which they ask their server
