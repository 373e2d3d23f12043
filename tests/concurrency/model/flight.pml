/* SPDX-License-Identifier: MIT
 *
 * flight: single flight as src/core/flight/flight.c and src/core/loading/load*.c build it: the window of the
 * key's bucket and the lock of the flight table, taken inside it too.
 *
 * PICTURE    source -> loader -> entry[g] (one key; g its generation)   table[g] -> flight records
 *            record {phase, refs, attached, value, late (past its hard timeout)}
 *                getter: look -> enter {attach | join | take over | take a queued one} -> look again
 *                        -> load -> window {attached? unlink, store} -> end {unlink, outcome, wake,
 *                        ref}
 *                writer: window {odd; count; unlink the flight; change} ; clear: next generation
 * THREADS    Getter x NG (the second one may time out at any step), Writer: OPS times set or del,
 *            and by switch CLEAR, GLOB (keys deleted by pattern), HARD (one flight may become
 *            late), JOB (a queued refresh), L2 (an old record on disk, its tombstone after the window).
 * SHOWN      No getter that began after a change returned gets a value loaded before it. There are
 *            no more loads than generations. No record is used after it is free, none is left.
 *            Every thread ends (LIVE: also under weak fairness).
 * MUTANTS    as in the code: LOST_WAKE NO_DETACH TIMEOUT_FREE NO_WAKE CLEAR_ANY NO_SECOND_PROBE
 *            UNLINK_BEFORE_WINDOW COUNT_BEFORE_WINDOW LATE_STORE WAKE_AFTER_UNREF
 *            NO_UNLINK_ON_FAIL TAKEOVER_NO_PROBE PLAIN_UNREF GLOB_L1_FIRST; and in the model
 *            only: NO_PENDING (the disk is read although a change is on its way into it),
 *            NO_GENERATION_TEST (a change of a dead generation is not repeated in the new one).
 * LIMITS     sequentially consistent: the fence after count is not shown here. */
#define AT(step)
#ifndef NG
#define NG 2
#endif
#ifndef OPS
#define OPS 2
#endif
#define RECORDS 8
#define QUEUED 1
#define LOADING 2
#define GOOD 3
#define FAILED 4
#define CANCELLED 5
#define LEFT 6 /* of a waiter: it did not wait to the end */
#define OPEN(x) (phase[x] <= LOADING)

byte source = 1, certain = 1;      /* the source's number; the number that changes guarantee */
byte generation, entry[2], table[2], count[2];
bool odd[2], lock[2];
byte phase[RECORDS], value[RECORDS], refs[RECORDS];
bool used[RECORDS], attached[RECORDS], late[RECORDS];
byte sleeps[NG];                    /* record this getter sleeps on; 0: awake */
byte loads, generations = 1, ended;
#ifdef L2
byte disk = 1, pending;
#endif
#ifdef CLEAR
#define N_CLEAR 1
#else
#define N_CLEAR 0
#endif
#ifdef JOB
#define N_JOB 1
#else
#define N_JOB 0
#endif
#ifdef GLOB
#define N_GLOB 1
#else
#define N_GLOB 0
#endif
#define ALL (NG + 1 + N_CLEAR + N_JOB + N_GLOB)

inline record(x, p) {
    x = 1; do :: x < RECORDS && used[x] -> x++ :: else -> break od;
    assert(x < RECORDS);
    used[x] = true; phase[x] = p; refs[x] = 1; attached[x] = true; value[x] = 0; late[x] = false
}
inline let_go(x) {
    assert(used[x] && refs[x] > 0);
    refs[x]--;
    if :: refs[x] == 0 -> assert(!attached[x]); used[x] = false; phase[x] = 0; late[x] = false
       :: else fi
}
inline unlink(g, x) { assert(table[g] == x); table[g] = 0; count[g]--; attached[x] = false }
inline wake(x) {
#ifndef NO_WAKE
    n = 0; do :: n < NG -> if :: sleeps[n] == x -> sleeps[n] = 0 :: else fi; n++ :: else -> break od;
#endif
    n = 0
}
inline look(g) { atomic { !odd[g] -> got = entry[g] } }

/* Lead record f of generation g: from the second look to the last ref. */
inline lead(g, f) {
    AT(flight.lead)
    AT(flight.second)
    got = 0;
#ifndef NO_SECOND_PROBE
    if :: probe -> look(g) :: else fi;
#endif
    if
    :: got != 0 -> how = GOOD
    :: else ->
#ifdef L2
        on_disk = true;
#ifndef NO_PENDING
        atomic { on_disk = (pending == 0) };
#endif
        if :: on_disk -> got = disk :: else fi;
#endif
        if
        :: got != 0 -> how = GOOD
        :: else ->
            AT(flight.load)
            d_step { loads++; assert(loads <= generations); got = source };
            if :: how = GOOD
               :: how = FAILED; generations++
               :: how = CANCELLED; generations++
               :: late[f] -> (ended >= ALL - 1); how = GOOD   /* stuck until all others ended */
            fi
        fi;
        AT(flight.publish)
        if
        :: how == GOOD ->
#ifdef UNLINK_BEFORE_WINDOW
            atomic { !lock[g]; may = attached[f] && generation == g;
                     if :: attached[f] -> d_step { unlink(g, f) } :: else fi };
            atomic { !odd[g] -> odd[g] = true };
#else
            atomic { !odd[g] -> odd[g] = true };
            atomic { !lock[g]; may = attached[f] && generation == g;
                     if :: may -> d_step { unlink(g, f) } :: else fi };
#ifdef LATE_STORE
            may = true;
#endif
#endif
            if :: may -> entry[g] = got :: else fi;
            odd[g] = false
        :: else
        fi
    fi;
    atomic { !lock[g]; d_step {
#ifdef CLEAR_ANY
        if :: table[g] != 0 && table[g] != f -> n = table[g]; unlink(g, n); n = 0 :: else fi;
#endif
#ifdef NO_UNLINK_ON_FAIL
        if :: attached[f] && how == GOOD -> unlink(g, f) :: else fi;
#else
        if :: attached[f] -> unlink(g, f) :: else fi;
#endif
        if :: OPEN(f) -> value[f] = got; phase[f] = how :: else fi } };
    AT(flight.wake)
#ifdef WAKE_AFTER_UNREF
    atomic { !lock[g]; d_step { let_go(f) } };
    d_step { assert(used[f]); wake(f) }
#else
    d_step { assert(used[f]); wake(f) };
    atomic { !lock[g]; d_step { let_go(f) } }
#endif
}

proctype getter(byte me; bool hasty) {
    byte least, g, f, got, n, how; bool may, probe = true, on_disk;
    least = certain;
again:
    g = generation;
    look(g);
    if :: got != 0 -> assert(got >= least); goto out :: else fi;
    AT(flight.enter)
    atomic { !lock[g];
        if
        :: table[g] != 0 && late[table[g]] ->
            d_step { f = table[g]; unlink(g, f); phase[f] = CANCELLED; generations++; wake(f);
                     record(f, LOADING); table[g] = f; count[g]++;
#ifdef TAKEOVER_NO_PROBE
                     probe = false
#else
                     skip
#endif
            }; goto leads
        :: table[g] != 0 && !late[table[g]] && phase[table[g]] == QUEUED ->
            d_step { f = table[g]; refs[f]++; phase[f] = LOADING;
#ifdef TAKEOVER_NO_PROBE
                     probe = false
#else
                     skip
#endif
            }; goto leads
        :: table[g] != 0 && !late[table[g]] && phase[table[g]] != QUEUED ->
            d_step { f = table[g]; assert(used[f]); refs[f]++ }
        :: table[g] == 0 -> d_step { record(f, LOADING); table[g] = f; count[g]++ }; goto leads
        fi };
    AT(flight.join)
waits:
#ifdef LOST_WAKE
    if :: OPEN(f) -> skip :: else -> goto final fi;
    sleeps[me] = f;
#else
    atomic { if :: OPEN(f) -> sleeps[me] = f :: else -> goto final fi };
#endif
    if
    :: sleeps[me] == 0 -> goto waits
    :: late[f] -> sleeps[me] = 0;
        atomic { if :: OPEN(f) -> how = CANCELLED :: else -> goto final fi }
    :: hasty -> sleeps[me] = 0;
        atomic { if :: OPEN(f) -> how = LEFT :: else -> goto final fi };
#ifdef TIMEOUT_FREE
        refs[f] = 1
#endif
    fi;
    goto leave;
final:
    atomic { assert(used[f]); how = phase[f]; got = value[f] }; /* constant: no lock */
leave:
    AT(flight.unref)
    if
#ifdef PLAIN_UNREF
    :: refs[f] > 1 -> n = refs[f]; refs[f] = n - 1; n = 0
#else
    :: atomic { refs[f] > 1 -> d_step { assert(used[f]); refs[f]-- } }
#endif
    :: atomic { refs[f] == 1 && !lock[g] -> d_step { let_go(f) } }
    fi;
    if
    :: how == GOOD -> assert(got >= least); goto out
    :: how == FAILED -> goto out
    :: how == CANCELLED -> goto again
    :: how == LEFT -> goto out
    fi;
leads:
    lead(g, f);
out:
    skip;
    d_step { f = 0; got = 0; how = 0; ended++ }
}

proctype writer() {
    byte g, mine, seen, ops; bool sets;
    do
    :: ops == OPS -> break
    :: ops < OPS -> ops++;
        if :: sets = true :: sets = false fi;
        if :: !sets -> d_step { source++; mine = source } :: else fi;
anew:
        g = generation;
#ifdef COUNT_BEFORE_WINDOW
        seen = count[g];
        atomic { !odd[g] -> odd[g] = true };
#else
        atomic { !odd[g] -> odd[g] = true };
#ifdef L2
        pending++;
#endif
        seen = count[g];
#endif
#ifndef NO_DETACH
        if :: seen != 0 -> atomic { !lock[g]; d_step {
                  if :: table[g] != 0 -> attached[table[g]] = false; table[g] = 0; count[g]--;
                        generations++
                     :: else fi } }
           :: else fi;
#endif
        if
#ifndef NO_GENERATION_TEST
        :: atomic { generation != g -> odd[g] = false };
#ifdef L2
           pending--;
#endif
           goto anew
        :: atomic { sets && generation == g -> d_step { source++; mine = source; entry[g] = mine } }
        :: atomic { !sets && generation == g -> d_step {
#else
        :: atomic { sets -> d_step { source++; mine = source; entry[g] = mine } }
        :: atomic { !sets -> d_step {
#endif
               if :: entry[g] != 0 -> generations++ :: else fi; entry[g] = 0 } }
        fi;
        odd[g] = false;
#ifdef L2
        disk = 0;
        pending--;
#endif
        d_step { if :: certain < mine -> certain = mine :: else fi; mine = 0; seen = 0 }
    od;
    ended++
}

#ifdef CLEAR
proctype clear() {
    byte mine;
    d_step { source++; mine = source };
    d_step { generation = 1; generations++ };
    d_step { if :: certain < mine -> certain = mine :: else fi; mine = 0 };
    ended++
}
#endif
#ifdef GLOB
inline sweep() { /* a flight of the key is detached under the lock, in no window */
    atomic { !lock[0]; d_step {
        if :: table[0] != 0 -> attached[table[0]] = false; table[0] = 0; count[0]--; generations++
           :: else fi } }
}
inline walk() { /* a live entry is deleted; an absent one is no change */
    AT(flight.glob)
    if
    :: atomic { !odd[0] && entry[0] != 0 -> odd[0] = true };
        if :: count[0] != 0 -> sweep() :: else fi;
        d_step { generations++; entry[0] = 0 };
        odd[0] = false
    :: atomic { !odd[0] && entry[0] == 0 -> skip }
    fi
}
proctype glob() {
    byte mine;
    d_step { source++; mine = source };
#ifdef GLOB_L1_FIRST
    walk(); sweep();
#else
    sweep(); walk();
#endif
    d_step { if :: certain < mine -> certain = mine :: else fi; mine = 0 };
    ended++
}
#endif
#ifdef HARD
proctype clock() { if :: atomic { table[0] != 0 -> late[table[0]] = true } :: skip fi }
#endif
#ifdef L2
proctype evictor() {
    atomic { !odd[0] -> d_step { if :: entry[0] != 0 -> entry[0] = 0; generations++ :: else fi } }
}
#endif
#ifdef JOB
proctype job() {
    byte f, got, n, how; bool may, probe = true, on_disk, ours;
#ifdef TAKEOVER_NO_PROBE
    probe = false;
#endif
    atomic { !lock[0];
        if :: table[0] == 0 -> d_step { record(f, QUEUED); table[0] = f; count[0]++ }
           :: else -> f = 0 fi };
    if
    :: f != 0 ->
        atomic { !lock[0];
            if
            :: phase[f] == QUEUED && attached[f] -> phase[f] = LOADING; ours = true
            :: phase[f] == QUEUED && !attached[f] -> d_step { phase[f] = CANCELLED; wake(f);
                   let_go(f) }
            :: else -> d_step { let_go(f) }
            fi };
        if :: ours -> lead(0, f) :: else fi
    :: else
    fi;
    d_step { f = 0; got = 0; how = 0; ended++ }
}
#endif

init {
    byte i;
    atomic {
        i = 0; do :: i < NG -> run getter(i, (i == 1)); i++ :: else -> break od; i = 0;
        run writer();
#ifdef CLEAR
        run clear();
#endif
#ifdef GLOB
        run glob();
#endif
#ifdef HARD
        run clock();
#endif
#ifdef L2
        run evictor();
#endif
#ifdef JOB
        run job();
#endif
    };
    (ended == ALL);
    d_step {
        assert(table[0] == 0 && table[1] == 0 && count[0] == 0 && count[1] == 0);
        i = 1; do :: i < RECORDS -> assert(!used[i]); i++ :: else -> break od;
        assert(entry[generation] == 0 || entry[generation] >= certain)
    }
}
#ifdef LIVE
ltl everybody_ends { <> (ended == ALL) }
#endif
