#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run: every base configuration of a model must be free of errors, every seeded mistake must be found.
#
# PICTURE    table below -> [worker: spin -a, cc, pan, own folder] x JOBS -> one line each
# TABLE      tier, verdict, model, switches. tier: q always, c not with QUICK=1, f with FULL=1 only
#            verdict: ok = 0 errors;  fail = an assertion or an invalid end state must be found;
#            live = 0 errors of its ltl formula under weak fairness
# ALSO       step names: AT(m.x) in the models and BASE_POINT("m.x") in src/m are one set (l1;
#            flight: src/core/flight, src/core/cache, src/core/loading; tier: src/core/cache; l2: the files of l2_steps)
#            with the mutants' patches; mutants: each BASE_MUTANT("m.x") of a patch is a switch X
#            that fails here, or in not_shown. Steps of no_protocol are left out.
# ENDS       "cellar_model: N passed, N failed, N skipped". No spin: one skip, names are compared.
# OPTIONS    QUICK=1 (a minute on 2 cores), FULL=1 (minutes, 8 GiB), JOBS=n, ONLY=model
#            SHARE=n: every n-th seeded mistake, every n-th base configuration of tier c and every
#            second of tier q; SEED decides which
set -u
LC_ALL=C
export LC_ALL
here=tests/concurrency/model cc=${CC:-cc}

table() {
    cat <<'END'
q ok   l1_get SET DEL SPLIT
q ok   l1_get SET EVICT FOREIGN ROUNDS=1
q ok   l1_get MERGE SPLIT SET
q ok   l1_get MERGE SPLIT DEL
q ok   l1_get PUBLISH DEL SPLIT
q ok   l1_get EVICT SPLIT
c ok   l1_get EVICT SPLIT SET
c ok   l1_get TSO=1 SET DEL SPLIT
q ok   l1_get NONE SET DEL SPLIT
c ok   l1_get NONE MERGE SPLIT SET
c ok   l1_get TSO=1 NONE SET DEL SPLIT
c ok   l1_get TSO=1 MERGE SPLIT DEL
c ok   l1_get TSO=1 SET EVICT FOREIGN ROUNDS=1
c ok   l1_get SET DEL FOREIGN
c ok   l1_get SET SET2 DEL
c ok   l1_get SET EVICT DEL
c ok   l1_get FALL SET DEL SPLIT
c ok   l1_get NR2 SET FOREIGN
c ok   l1_get PUBLISH DEL EVICT
f ok   l1_get FALL SET EVICT FOREIGN
f ok   l1_get TSO=1 SET EVICT FOREIGN
f ok   l1_get TSO=1 SET DEL FOREIGN
f ok   l1_get MERGE SPLIT SET DEL
f ok   l1_get MERGE SPLIT SET FOREIGN
f ok   l1_get TSO=1 MERGE SPLIT SET DEL
q fail l1_get NO_RECHECK SET
q fail l1_get MISS_NO_LS_RELOAD SPLIT
q fail l1_get NONE NONE_NO_LS_RELOAD SPLIT
q fail l1_get NONE NONE_NO_VERSION SPLIT
q fail l1_get LOCK_NO_LS_RELOAD SPLIT DEL
q fail l1_get SPLIT_BEFORE_LOCK SPLIT DEL
q fail l1_get NEW_NO_LS_RELOAD SET SPLIT DEL
q fail l1_get NEW_NOT_LOOKED_FOR SET SET2 DEL
q fail l1_get LINKED_NO_LS_RELOAD EVICT SPLIT
q fail l1_get LS_OUTSIDE_WINDOW SPLIT
q fail l1_get KEPT_NO_VERSION EVICT SET
q fail l1_get DEL_COUNTS_LATE DEL FOREIGN
q fail l1_get DEL_ABSENT_NO_HOOK PUBLISH DEL EVICT
q fail l1_get VERSION_RESTARTS SPLIT MERGE SET
q fail l1_get REUSE_BEFORE_UNLINK EVICT FOREIGN
q fail l1_get BUSY_IGNORED EVICT FOREIGN
q fail l1_get LS_NO_COUNT SPLIT MERGE SET
q fail l1_get MERGED_EVEN SPLIT MERGE SET
q ok   l1_hold HOLDS=1
q ok   l1_hold COUNTS HOLDS=1
q ok   l1_hold TSO=1 HOLDS=1
q ok   l1_hold CLOSE COUNTS HOLDS=1 ENDS=1
q ok   l1_hold CLOSE RETAIN HOLDS=1 ENDS=1
q ok   l1_hold OWN COUNTS HOLDS=1
c ok   l1_hold TSO=1 COUNTS HOLDS=1 ENDS=1
c ok   l1_hold TSO=1 CLOSE HOLDS=1 ENDS=1
c ok   l1_hold
c ok   l1_hold TWO HOLDS=1 ENDS=1
f ok   l1_hold COUNTS
f ok   l1_hold CLOSE COUNTS HOLDS=1
q fail l1_hold HOLD_NO_LOOK HOLDS=1
q fail l1_hold HOLD_COUNT_NO_LOOK COUNTS HOLDS=1
q fail l1_hold HOLD_FROM_0 COUNTS HOLDS=1
q fail l1_hold HOLD_NOT_CONVERTED HOLDS=1
q fail l1_hold HOLD_COUNT_KEPT HOLDS=1
q fail l1_hold HOLD_MARKED_FIRST HOLDS=1
q fail l1_hold HOLD_RELEASE_BLIND HOLDS=1
q fail l1_hold HOLD_PLAIN_STORE TSO=1 HOLDS=1
q fail l1_hold HOLD_SCAN_FIRST HOLDS=1
q fail l1_hold HOLD_DROP_FIRST HOLDS=1
q ok   l1_pin FALL WRITES=1 CURSOR=1
q ok   l1_pin TWO CURSOR=1
q ok   l1_pin TSO=1 WRITES=1 CURSOR=1
c ok   l1_pin TSO=1 TWO CURSOR=1
c ok   l1_pin TWO WRITES=2
c ok   l1_pin FALL TWO WRITES=1
c ok   l1_pin COUNT WRITES=1 CURSOR=1
c ok   l1_pin LONG TWO WRITES=1 CURSOR=1
c ok   l1_pin PIN_PLAIN_STORE WRITES=1 CURSOR=1
f ok   l1_pin TSO=1 TWO WRITES=2
f ok   l1_pin TWO CURSOR=2
f ok   l1_pin TWO WRITES=1 CURSOR=1
q fail l1_pin TSO=1 PIN_PLAIN_STORE CURSOR=1
q fail l1_pin PIN_NO_FIRST_RECHECK WRITES=1 CURSOR=1
q fail l1_pin PIN_NO_SECOND_RECHECK WRITES=1
q fail l1_pin PIN_LATE_LOOK TWO WRITES=1
q fail l1_pin W0_BEFORE_LOCK WRITES=1
q fail l1_pin NO_BIT WRITES=1
q fail l1_pin COUNT_BLIND COUNT
q fail l1_pin SCAN_BEFORE_UNLINK CURSOR=1
q fail l1_pin FALL LOCKED_BIT_LATE WRITES=1
q ok   l1_big NR2 REMOVE
q ok   l1_big TSO=1 WRITES=2 REMOVE
q ok   l1_big FALL WRITES=2 REMOVE
c ok   l1_big TSO=1 REMOVE SWEEPER
c ok   l1_big NR2 REMOVE SWEEPER
f ok   l1_big NR2 WRITES=2 REMOVE SWEEPER
f ok   l1_big TSO=1 NR2 REMOVE SWEEPER
q fail l1_big RETIRED_FREED_EARLY REMOVE
q fail l1_big RETIRED_BEFORE_HAND_OVER REMOVE SWEEPER
q fail l1_big TSO=1 PIN_PLAIN_STORE REMOVE
q fail l1_big NO_LOOK_AFTER_PUBLISH REMOVE
q fail l1_big SWEEP_WITHOUT_SCAN REMOVE
q fail l1_big LIST_NOT_TAKEN REMOVE SWEEPER
q ok   l1_idle
q ok   l1_idle HITS=1 TOUCH
f ok   l1_idle TOUCH
q fail l1_idle IDLE_BARE_STORE
q fail l1_idle HIT_NOT_SOUGHT
q fail l1_idle JUDGED_BEFORE TOUCH HITS=1
q fail l1_idle DROP_NOT_JUDGED
q fail l1_idle CURSOR_PASSES
q fail l1_idle TOUCH_TURNS_BACK TOUCH HITS=1
q ok   l1_emptied
c ok   l1_emptied TWO
f ok   l1_emptied TWO ROUNDS=4
q fail l1_emptied HEAD_CLOSED_EARLY
q fail l1_emptied QUEUED_APART
q fail l1_emptied HEAD_FORGOTTEN
q fail l1_emptied STACK_AFTER_COUNT
q ok   l1_moved
q fail l1_moved MOVED_READ_LATER
q fail l1_moved COUNT_READ_LATER
q ok   l1_chain OTHER SET
q ok   l1_chain TSO=1 OTHER SET
c ok   l1_chain OTHER SCAN
c ok   l1_chain OTHER DEL
c ok   l1_chain DROPS=2 OTHER SET
c ok   l1_chain NONE DROPS=2 OTHER SET
f ok   l1_chain OTHER DEL SCAN
q fail l1_chain NO_RECHECK OTHER
q fail l1_chain NONE NONE_NO_CHAIN OTHER
q fail l1_chain TRIM_UNLOCKED OTHER
q fail l1_chain DEL_TRIMS DEL OTHER
q fail l1_chain MOVE_FORGETS
q ok   l1_scan
c ok   l1_scan MOVES=4
f ok   l1_scan MOVES=6
q fail l1_scan LS_NO_COUNT
q fail l1_scan PLAIN_ORDER
q fail l1_scan ONE_BUCKET
q fail l1_scan LS_NOT_RELOADED
q ok   flight OPS=1
c ok   flight
c ok   flight HARD OPS=1
c ok   flight L2 OPS=1
c ok   flight GLOB OPS=1
f ok   flight HARD
f ok   flight L2
f ok   flight JOB OPS=1
f ok   flight CLEAR OPS=1
f ok   flight NG=3 OPS=1
q live flight LIVE OPS=1
q fail flight LOST_WAKE
q fail flight NO_WAKE
q fail flight NO_DETACH
q fail flight TIMEOUT_FREE
q fail flight NO_SECOND_PROBE
q fail flight UNLINK_BEFORE_WINDOW
q fail flight COUNT_BEFORE_WINDOW
q fail flight LATE_STORE
q fail flight WAKE_AFTER_UNREF
q fail flight NO_UNLINK_ON_FAIL
c fail flight CLEAR_ANY NG=3 OPS=1
c fail flight TAKEOVER_NO_PROBE JOB OPS=1
c fail flight PLAIN_UNREF NG=3 OPS=1
c fail flight GLOB_L1_FIRST GLOB OPS=1
c fail flight NO_PENDING L2
c fail flight NO_GENERATION_TEST CLEAR OPS=1
q ok   l2_watch
q fail l2_watch UNWATCHED_EVICT
q fail l2_watch UNWATCHED_READ
q fail l2_watch NO_FIRST_LOOK
q fail l2_watch NO_SECOND_LOOK
q fail l2_watch NO_SECOND_ASK
q ok   l2_log STORED
q ok   l2_log FREEZE STORED PUTS=1
q ok   l2_log PASSES=2 STORED PUTS=1 CHANGES=1 NO_READER
c ok   l2_log TWO STORED PUTS=1 CHANGES=1
c ok   l2_log DROPS PASSES=1 STORED PUTS=1 CHANGES=1 NO_READER
f ok   l2_log PASSES=2 STORED PUTS=1 CHANGES=1
f ok   l2_log PASSES=1 STORED PUTS=1
f ok   l2_log DROPS PASSES=1 TWO STORED PUTS=1 CHANGES=1 NO_READER
f ok   l2_log FREEZE PASSES=1 STORED PUTS=1 CHANGES=1
q fail l2_log NO_STAMP STORED PUTS=1 CHANGES=1
q fail l2_log WORD_UNLOCKED PUTS=1 CHANGES=1
q fail l2_log TOMB_UNWRITTEN STORED PUTS=1 CHANGES=1
q fail l2_log ENDED_UNSEEN TWO STORED PUTS=1 CHANGES=1
q fail l2_log WORDS_FIRST DROPS STORED PASSES=1 PUTS=1 CHANGES=1
q fail l2_log PASS_NO_FLOOR DROPS STORED PASSES=1 PUTS=1 CHANGES=1
q fail l2_log COPY_UNLOCKED STORED PASSES=1 PUTS=1 CHANGES=1
q fail l2_log COPY_BLIND STORED PASSES=1 PUTS=1 CHANGES=1
q fail l2_log REUSED_FIRST STORED PASSES=1 PUTS=1 CHANGES=1
q fail l2_log NO_DOORBELL FREEZE STORED PUTS=1 CHANGES=1
q fail l2_log BELL_EARLY FREEZE STORED PUTS=1 CHANGES=1
q ok   l2_meet PUTS=1
q ok   l2_meet TAG PUTS=1
q ok   l2_meet MOVES=1 PUTS=1
q ok   l2_meet TAG MOVES=1 PUTS=1
c ok   l2_meet MOVES=1
q ok   l2_meet LISTS
q live l2_meet LIVE PUTS=1 NO_GET NO_WORKER
c ok   l2_meet ROOMLESS PUTS=1
c ok   l2_meet TAG
c ok   l2_meet
f ok   l2_meet TWO PUTS=1
f ok   l2_meet GETS=2 PUTS=1
q fail l2_meet PUT_PAST_ENDS PUTS=1 NO_GET NO_WORKER
q fail l2_meet PUT_PAST_ENDS TAG
q fail l2_meet PUT_PAST_WALKS PUTS=1 NO_GET NO_WORKER
q fail l2_meet END_AFTER_LOG PUTS=1 NO_GET NO_WORKER
q fail l2_meet END_AFTER_LOG TAG
q fail l2_meet GLOB_NO_EPOCH PUTS=1
q fail l2_meet GLOB_NO_END PUTS=1
q fail l2_meet BACKFILL_PAST_GLOB PUTS=1
q fail l2_meet ROW_AFTER_LOG PUTS=1
q fail l2_meet ENDS_BEFORE_ROW PUTS=1
q fail l2_meet NOTED_LATE PUTS=1
q fail l2_meet ENDS_BEFORE_LOCK PUTS=1
q fail l2_meet WALK_OVER_FIRST PUTS=1
q fail l2_meet FLOOR_FIRST PUTS=1
q fail l2_meet FORGOTTEN_EARLY PUTS=1
q fail l2_meet WALK_BY_LSN ROOMLESS PUTS=1
q fail l2_meet MOVE_PAST_ENDS MOVES=1 PUTS=1
q fail l2_meet MOVE_PAST_ROW MOVES=1 PUTS=1
q fail l2_meet LIST_BEFORE_COUNT LISTS
q fail l2_meet COUNT_BEFORE_SWAP LISTS
c ok   remote_coherence
c ok   remote_coherence NBREAK=0 NFOR=2
f ok   remote_coherence PASS NBREAK=0 NOWN=0 NGET=3 NFOR=2
c ok   remote_coherence PASS NBREAK=0 NOWN=0 NGET=3
c ok   remote_coherence PASS NBREAK=0
f ok   remote_coherence NFOR=2
q fail remote_coherence NO_STAMP
q fail remote_coherence STAMP_AT_REPLY
q fail remote_coherence OWN_NO_STAMP
q fail remote_coherence NO_PENDING
q fail remote_coherence FLUSH_FIRST
q fail remote_coherence NO_FLUSH
q fail remote_coherence LIFE_AT_STORE NOWN=0
q fail remote_coherence PASS PASS_KEEPS NBREAK=0 NOWN=0 NGET=3
q fail remote_coherence PASS PASS_REPLACES NBREAK=0 NOWN=0 NGET=3
q fail remote_coherence PASS PASS_LATE NBREAK=0 NOWN=0 NGET=3
q fail remote_coherence PASS PASS_PUBLISH NBREAK=0
q fail remote_coherence PASS PASS_KEPT NBREAK=0
q fail remote_coherence PASS PASS_REFUSED NBREAK=0
q ok   remote_epoch
c ok   remote_epoch FORGETS=2
c ok   remote_epoch KNOWS=3
f ok   remote_epoch TWO
q fail remote_epoch BORN_AT_STORE
q fail remote_epoch BORN_TRUE
q fail remote_epoch PAIR_EARLY
q fail remote_epoch ABSENT_IS_NONE
q fail remote_epoch LESS_EQ
q fail remote_epoch FROM_CALLER
q fail remote_epoch EPOCH_FROM_KNOWN
c ok   remote_numbers
f ok   remote_numbers ENDS=3
q fail remote_numbers REPLY_COUNTS
q fail remote_numbers ENDED_FIRST
q fail remote_numbers UNKNOWN_PASSES
q fail remote_numbers LIFE_AT_STORE
q ok   remote_journal
q ok   remote_journal QUEUE
q ok   remote_journal NO_KEY QUEUE
f ok   remote_journal QUEUE WRITES=4 CUTS=3
q ok   remote_journal KEEPS
q ok   remote_journal KEEPS WRITES=3
q fail remote_journal KEEPS NO_SETTLE
q fail remote_journal NO_JOURNAL
q fail remote_journal JOURNAL_UNSEEN
q fail remote_journal QUEUE REPLAY_VALUE
q fail remote_journal QUEUE CONFIRM_ANY
q fail remote_journal QUEUE TURN_SAME
q fail remote_journal NO_KEY PLAIN_DROP WRITES=1
q ok   remote_turn
c ok   remote_turn TIMEOUT
f ok   remote_turn POSTS
q fail remote_turn NO_LOOK TIMEOUT
q fail remote_turn IO_NO_LOOK
q fail remote_turn LOOK_FIRST TIMEOUT
q fail remote_turn LEAVE_LATE TIMEOUT
q fail remote_turn NO_WAKE
q fail remote_turn READ_ALL POSTS
q fail remote_turn TRY_TURN
q ok   remote_lease NGET=0
q ok   remote_lease LOADS=1 CHANGES=2
q ok   remote_lease NGET=0 DEATHS CHANGES=0
f ok   remote_lease NGET=0 DEATHS
f ok   remote_lease NGET=0 CHANGES=2
f ok   remote_lease
q fail remote_lease FILL_BLIND NGET=0
q fail remote_lease ANY_LEASE NGET=0
q fail remote_lease RELEASE_BLIND NGET=0
q fail remote_lease ECHO_HIDDEN NGET=0
q fail remote_lease NO_STAMP NGET=0
q fail remote_lease NO_LOOK LOADS=1 CHANGES=2
q fail remote_lease NO_RAISE LOADS=1 CHANGES=2
q fail remote_lease REAP_BLIND NGET=0 DEATHS
q fail remote_lease BEAT_LATE NGET=0 DEATHS
q fail remote_lease NO_REAP NGET=0 DEATHS
c ok   remote_proof
q fail remote_proof FROM_REPLY
f ok   remote_proof END=6
q fail remote_proof BY_PING
q fail remote_proof ECHO_ALONE
q fail remote_proof SAME_KEY
q fail remote_proof MARKER_FIRST
q fail remote_proof BY_FLAG
q fail remote_proof LATE_REPORT
END
}
# The simulation shows them: arithmetic of one thread; pages and more than one key; the first word
# of a record, due times, tags and power cuts, which the models lack.
not_shown="l1.bounds_after_compare l1.apart_by_hash l1.sample_no_flag l1.shadow_no_flag
l1.due_no_fence l1.due_plain_mark
l1.inspect_remembers
l1.absent_not_evicted l1.absent_not_replaced l1.counter_in_record l1.tagged_no_recheck
l2.place_early l2.commit_joins l2.control_late l1.share_any_generation tier.read_pending
tier.drop_untold
tier.drop_adopted tier.clear_overtakes tier.clear_told_late tier.open_untold flight.set_not_told
l1.cap_without_ticket l1.bound_unlocked cache.cleared_late
cache.version_twice tier.drop_pending" # sim: quota, l2_ends, l2_drop, bound, l2_version
# Stops without a protocol of their own: a key apart is read under the pin of l1_pin.pml; pages on
# their way back are off the tree first; one flag, tried and never waited for, guards the shadows;
# sums of owners are words that change alone (sim, quota); rows of a full segment, and syncs, which
# a kill meets at each step (tests/crash/test_l2_kill.c);
# a value that is read back between two changes (test_cache_read_back).
no_protocol="l1.apart.published l1.big.giving l1.sample.noted
l1.shadow.fed l1.shadow.taken l1.quota.moved l1.quota.generation
tier.read_back
l2.sealed l2.commit"
l2_steps="src/core/l2/invalidations.c src/core/l2/write.c src/core/l2/stall.c src/core/l2/log.c
src/core/l2/pass.c src/core/l2/log.h"

say() { # passed? line
    if [ "$1" = 0 ]; then echo "ok   $2"; else echo "FAIL $2"; fi
}

check() { # spin, cc, pan in the current folder -> the verdict on stdout; status 0: as expected
    tier=$1 want=$2 model=$3
    shift 3
    defs=
    for s; do
        # An unused switch would make a base configuration easier than it looks.
        grep -q "\<${s%%=*}\>" "$root/$here/$model.pml" "$root/$here/memory.h" || {
            echo "no switch ${s%%=*}"
            return 1
        }
        defs="$defs -D$s"
    done
    # shellcheck disable=SC2086 # words are meant to be split
    spin -a $defs "$root/$here/$model.pml" >spin.out 2>&1 || {
        cat spin.out
        return 1
    }
    # Most searches are shorter than an optimised build of them. All but those of FULL have their
    # states in 1 GiB uncompressed: compressed into a third, they take a quarter more time.
    case $tier$want in
    f*) build="-O1 -DCOLLAPSE" ;;
    q* | cfail) build=-O0 ;;
    *) build=-O1 ;;
    esac
    case $want in live) how="-DNFAIR=3" go="-a -f" ;; *) how=-DSAFETY go= ;; esac
    # shellcheck disable=SC2086
    $cc $build -w $how -DVECTORSZ=2048 -DMEMLIM="${MEMLIM:-3000}" pan.c -o pan \
        2>cc.out || {
        cat cc.out
        return 1
    }
    # shellcheck disable=SC2086
    ./pan -m1000000 $go >pan.out 2>&1
    states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' pan.out)
    found=$(sed -n 's/^pan:[0-9]*: \(.*\) (at depth [0-9]*)$/\1/p' pan.out | head -n 1)
    case $want:$found in
    ok: | live:) grep -q 'errors: 0$' pan.out && ! grep -q 'Search not completed' pan.out &&
        echo "$states states" && return 0 ;;
    fail:assertion* | fail:invalid\ end*) echo "found after $states states" && return 0 ;;
    fail:) echo "the mistake is not found in $states states" && return 1 ;;
    esac
    echo "${found:-$(tail -n 3 pan.out)} ($states states)"
    return 1
}

one() { # number of the line in $dir/items
    # shellcheck disable=SC2046
    set -- "$1" $(sed -n "${1}p" "$dir/items")
    number=$1 tier=$2 want=$3 model=$4
    shift 4
    root=$PWD work=$dir/$number
    rm -rf "$work" && mkdir -p "$work" && cd "$work" || exit 1
    start=$(date +%s)
    text=$(check "$tier" "$want" "$model" "$@")
    status=$?
    cd "$root" || exit 1
    spent=$(($(date +%s) - start))
    say $status "$(printf '%-4s %-10s %-38s %s, %s s' "$want" "$model" "$*" "$text" $spent)"
    echo $status >"$dir/$number.res"
    [ $status -ne 0 ] || rm -rf "$work"
}

if [ "${1-}" = --one ]; then
    dir=$2
    one "$3"
    exit 0
fi

# Print the sources that have models, with the mutants in them: the models have their steps, too.
modelled() {
    for file in src/core/l1/*.c src/core/flight/*.c src/core/cache/*.c src/core/policy/*.c src/core/loading/*.c \
        src/core/store/*.c $l2_steps; do
        echo "$dir/$file"
    done
}
compare_steps() { # names that only one side has
    # shellcheck disable=SC2046 # file names
    grep -ho 'BASE_POINT("\(l1\|l2\|flight\|tier\)\.[a-z_.]*")' $(modelled) |
        cut -d'"' -f2 | grep -vxF "$(echo $no_protocol | tr ' ' '\n')" | sort -u >"$dir/steps.code"
    grep -ho 'AT(\(l1\|l2\|flight\|tier\)\.[a-z_.]*)' $here/*.pml | tr -d '()' |
        sed 's/^AT//' | sort -u >"$dir/steps.model"
    diff "$dir/steps.code" "$dir/steps.model"
}
compare_mutants() {
    missing=0
    # shellcheck disable=SC2046 # file names
    for m in $(grep -ho 'BASE_MUTANT("\(l1\|l2\|flight\|tier\)\.[a-z0-9_]*")' \
        $(modelled) | cut -d'"' -f2 | sort -u); do
        case " $(echo $not_shown) " in *" $m "*) continue ;; esac
        switch=$(echo "${m#*.}" | tr 'a-z' 'A-Z')
        table | grep -q "^. fail .*\<$switch\>" || {
            echo "     $m fails in no model"
            missing=1
        }
    done
    return $missing
}

passed=0 failed=0 skipped=0
count() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi; }

dir=build/model/$$ # another run may be in progress
rm -rf "$dir"
mkdir -p "$dir" || exit 2
if command -v patch >/dev/null 2>&1; then
    sh tests/concurrency/mutants/plant.sh "$dir"
    status=$?
    say $status "every patch of a mutant applies"
    count $status
    compare_steps
    status=$?
    say $status "steps are called alike in the code and in the models (< code, > model)"
    count $status
    compare_mutants
    status=$?
    say $status "each mistake that the code can switch on fails in a model"
    count $status
else
    echo "skip the names # SKIP patch needed: make deps GROUP=check"
    skipped=1
fi

if command -v spin >/dev/null 2>&1 && command -v "${cc%% *}" >/dev/null 2>&1; then
    tiers=qc
    [ "${QUICK:-0}" = 0 ] || tiers=q
    [ "${FULL:-0}" = 0 ] || { tiers=qcf MEMLIM=8000 && export MEMLIM; }
    table | grep "^[$tiers] .* ${ONLY:-[a-z0-9_]*}\>" >"$dir/items" ||
        { echo "model: no model of that name: ${ONLY:-}" >&2; exit 2; }
    awk -v share="${SHARE:-1}" -v seed="${SEED:-0}" \
        '{ quick = $1 == "q" && $2 != "fail"; of = quick && share > 2 ? 2 : share }
        (++n[quick, $2] + seed) % of == 0' "$dir/items" >"$dir/share" &&
        mv "$dir/share" "$dir/items"
    jobs=${JOBS:-$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)}
    items=$(wc -l <"$dir/items")
    awk '{ print NR }' "$dir/items" | xargs -P "$jobs" -n 1 sh "$0" --one "$dir"
    i=1
    while [ $i -le "$items" ]; do
        count "$(cat "$dir/$i.res" 2>/dev/null || echo 1)"
        i=$((i + 1))
    done
else
    echo "skip the models # SKIP spin (and a C compiler) needed: make deps GROUP=check"
    skipped=$((skipped + 1))
fi
echo "cellar_model: $passed passed, $failed failed, $skipped skipped"
if [ $failed -ne 0 ]; then exit 1; fi
rm -rf "$dir"
