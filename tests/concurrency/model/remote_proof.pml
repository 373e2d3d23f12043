/* SPDX-License-Identifier: MIT
 *
 * remote_proof: marks that prove delivery: no hit is older than T by the clock of the process.
 *
 * PICTURE    I/O thread: noted = now -> mark on `data` -> server, after the reports of its round ->
 *            `ear` -> proven_until = noted + T             hit: only while now < proven_until
 * THREADS    Clock of END ticks, Writer (a stranger, two changes), Mark (one in flight), Ear (reads
 *            at any moment: it may be suspended), Cut of the ear that `data` does not notice, Hits.
 * SHOWN      A value that a hit returns at time x was the server's value after x - T.
 * MUTANTS    in the model only: FROM_REPLY (T counts from the return of the mark), BY_PING (the
 *            reply on `data` counts as the return), MARK_FIRST (the mark overtakes reports), BY_FLAG
 *            (a flag of the I/O thread allows hits, instead of the time).
 * LIMITS     One key, filled at the beginning; stamps: remote_coherence. */
#ifndef END
#define END 7
#endif
#define T 3
#define NEVER 99
#define MARK 0

byte now, db = 1, val = 1;    /* val 0: no entry in memory */
byte replaced[4] = NEVER;     /* when the version was replaced in the server */
byte proven_until = T, noted;
bool flying, flag = true, dead; /* dead: the ear is gone, `data` goes on answering */
chan reports = [4] of { byte };

active proctype clock() { do :: now < END -> now++ :: now == END -> break od }

active proctype writer() {
    do
    :: db < 3 -> d_step {
        replaced[db] = now;
        db++;
        if
        :: dead
        :: !dead -> reports!db
        fi
    }
    :: break
    od
}

active proctype marks() {
end:
    do
    :: d_step { !flying -> flying = true; noted = now };
        if
#ifdef BY_PING
        :: d_step { true -> proven_until = noted + T; flying = false }
#endif
#ifdef MARK_FIRST
        :: d_step { !dead -> reports!!MARK }
#else
        :: d_step { !dead -> reports!MARK }
#endif
        :: dead -> break      /* the mark is lost, and no other one is sent: a gap */
        fi
    od
}

active proctype ear() {
    byte m;
end:
    do
    :: d_step {
        !dead && nempty(reports) ->
        reports?m;
        if
        :: m == MARK ->
#ifdef FROM_REPLY
            proven_until = now + T;
#else
            proven_until = noted + T;
#endif
            flag = true;
            flying = false
        :: else -> val = 0
        fi;
        m = 0
    }
    :: d_step { now >= proven_until && flag -> flag = false }
    od
}

active proctype cut() { if :: dead = true :: true fi }

active proctype hits() {
end:
    do
#ifdef BY_FLAG
    :: d_step { flag && val != 0 -> assert(replaced[val] + T > now) }
#else
    :: d_step { now < proven_until && val != 0 -> assert(replaced[val] + T > now) }
#endif
    od
}
