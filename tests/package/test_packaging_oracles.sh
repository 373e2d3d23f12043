#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    vectors are stored in the form of the head of src/guests/kit/embedding.c.
# Method: consumers/oracle.c stores, python3 reads by struct. Other writers have an oracle beside their
#         tests: metrics and JSON test_stats_text, keys test_api_kit_keys, patterns test_base_glob.
. tests/support/t.sh
vectors() {
    $CC -std=c11 -O1 -D_GNU_SOURCE $t_warn -Iinclude -o "$t_tmp/oracle" tests/package/consumers/oracle.c \
        "${CELLAR_A:-build/libcellar.a}" -pthread -lm ${CELLAR_LIBS-} && python3 tests/package/oracle.py "$t_tmp/oracle"
}
if t_have python3; then t_case vectors_agree_with_struct vectors
else t_skip vectors_agree_with_struct "no python3"; fi
t_end packaging_oracles
