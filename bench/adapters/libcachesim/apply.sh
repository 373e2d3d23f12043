#!/bin/sh
# SPDX-License-Identifier: MIT
#
# apply.sh: puts the cache into a checkout of libCacheSim (aa0fc40) and builds its simulator.
#
# USE        sh bench/adapters/libcachesim/apply.sh CHECKOUT FOLDER-OF-LIBCELLAR     -> CHECKOUT/b/bin/cachesim
set -eu
here=$(cd "$(dirname "$0")" && pwd) to=$(cd "$1" && pwd) lib=$(cd "$2" && pwd)
list=$to/libCacheSim/bin/cachesim/cache_init.h
grep -q cellar_lcs "$list" || sed -i '0,/^  } else {$/{s/^  } else {$/  } else if (strcmp(eviction_algo, "cellar") == 0) {\
    extern cache_t *cellar_lcs_init(const common_cache_params_t, const char *);\
    cache = cellar_lcs_init(cc_params, eviction_params);\
  } else {/}' "$list"
mkdir -p "$to/b"
cmake -S "$to" -B "$to/b" -DCMAKE_BUILD_TYPE=Release # makes config.h; cmake then knows the compiler, and asks no more of the flags
# shellcheck disable=SC2046
${CC:-cc} -O2 -fPIC -shared -I"$here/../../../include" -I"$to/libCacheSim/include" -I"$to/b/libCacheSim/include" \
    $(pkg-config --cflags glib-2.0) -o "$lib/libcellar_lcs.so" "$here/cellar.c" -L"$lib" -lcellar
cmake -S "$to" -B "$to/b" -DCMAKE_EXE_LINKER_FLAGS="-L$lib -Wl,-rpath,$lib,--no-as-needed -lcellar_lcs -lcellar"
make -C "$to/b" cachesim
