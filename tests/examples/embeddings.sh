#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    embeddings.c sends each text once, also over a restart, and fails while the model is down.
# Method: sh tests/examples/embeddings.sh PROGRAM: a run without a model, and two runs on one folder.
. tests/support/t.sh

found() { "$1" "$t_tmp/vectors" | grep -qx "The birthday of Grace is in May (sent: $2)"; }
fails() {
    DOWN=1 "$1" "$t_tmp/none" >"$t_tmp/said" 2>&1
    [ $? -eq 1 ] && cat "$t_tmp/said" && grep -q 'no vector of the question: the loader failed$' "$t_tmp/said"
}
t_case question_without_a_vector_has_no_answer fails "$1"
t_case first_run_sends_all_texts found "$1" 5
t_case second_run_sends_none found "$1" 0
t_end embeddings
