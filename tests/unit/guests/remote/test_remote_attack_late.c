/* SPDX-License-Identifier: MIT
 *
 * Aim:    test_remote_attack finds proofs that do not end in time.
 * Method: the same run with one kind of fault: a process stands still for longer than proof_ms, and
 *         changes of the others wait for it. Its memory answers before its link has noticed. */
#include "remote/data.h"

CELLAR_PRIVATE void remote_proven_right(cellar_remote *r, int64_t until_ms);

#define remote_proven remote_proven_right
#include "src/guests/remote/coherence.c"
#undef remote_proven

CELLAR_PRIVATE void remote_proven(cellar_remote *r, int64_t until_ms)
{
    remote_proven_right(r, until_ms + 60000);
}

#define ATTACK_MUTANT
#include "tests/unit/guests/remote/test_remote_attack.c"

static void stop_for_long(attack *a)
{
    (void)a;
    stop_child_for(3 * PROOF_MS);
}

T_CASE(proof_without_an_end_is_found)
{
    uint64_t found = 0;
    if (!alone_open()) { return; }
    attack_state = t_seed();
    attack_fault = stop_for_long;
    for (int i = 0; i < 20 && found == 0 && !t_failed(); i++) {
        found = attack_mode(&modes[0], 8);
    }
    T_CHECK(found > 0);
    node_stop(&nodes[0]);
}

T_MAIN("remote_attack_late")
