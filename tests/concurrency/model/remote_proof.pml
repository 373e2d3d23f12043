/* SPDX-License-Identifier: MIT
 *
 * remote_proof: markers that prove delivery: no hit is older than T by the clock of the process.
 *
 * PICTURE    noted = now -> marker on `data` -> server, after the reports of its round ->
 *            `subscriber` and the reply on `data`: both -> proven_until = noted + T
 *            hit: only while now < proven_until
 *            The key of the marker was gone: the reply says so, and the next marker makes a key of
 *            a new number. A key that expires is reported as well.
 * THREADS    Clock of END ticks, Writer (a stranger, two changes), Marker (one under way),
 *            Subscriber (reads at any moment: it may be suspended), Expiry of the key of the
 *            marker, once, Cut of the subscriber that `data` does not notice, Hits.
 * SHOWN      A value that a hit returns at time x was the server's value after x - T.
 * MUTANTS    in the model only: FROM_REPLY (T counts from the return of the marker), BY_PING (the
 *            reply alone counts), ECHO_ALONE (the report of the key alone counts), SAME_KEY (a lost
 *            key is made again with its number), MARKER_FIRST (the marker overtakes reports),
 *            BY_FLAG (a flag of the I/O thread allows hits, instead of the time), LATE_REPORT (a
 *            thread of the program changes the store, then reports: a port over the store of the
 *            program; that is why the shared store of a port is its own).
 * LIMITS     One key, filled at the beginning; stamps: remote_coherence. */
#ifndef END
#define END 5
#endif
#define T 2
#define NEVER 99
#define VALUE(v) (10 + (v))   /* in `reports`; a marker is its number */
#define IS_MARKER(m) ((m) < 10)

byte now, db = 1, val = 1;    /* val 0: no entry in memory */
byte replaced[4] = NEVER;     /* when the version was replaced in the server */
byte proven_until = T, noted;
bool flying, flag = true, dead; /* dead: the subscriber is gone, `data` goes on answering */
byte number = 1;              /* of the key of the markers in this process */
bool there = true;            /* the server has the key */
bool rekey, makes, echoed, replied, existed; /* of the marker under way */
chan reports = [5] of { byte };

/* Both halves of a marker are back, or its key was gone. */
inline finish() {
    if
#ifdef BY_PING
    :: replied ->
#else
#ifdef ECHO_ALONE
    :: echoed ->
#else
    :: replied && echoed && existed ->
#endif
#endif
#ifdef FROM_REPLY
        proven_until = now + T;
#else
        proven_until = noted + T;
#endif
        flag = true;
        flying = false
    :: replied && !existed -> rekey = true; flying = false
    :: else
    fi;
    if :: !flying -> echoed = false; replied = false; existed = false; noted = 0 :: else fi
}

active proctype clock() { do :: now < END -> now++ :: now == END -> break od }

active proctype writer() {
    do
    :: db < 3 -> d_step {
        replaced[db] = now;
        db++;
#ifdef LATE_REPORT
    };
    d_step {
#endif
        if
        :: dead
        :: !dead -> reports!VALUE(db)
        fi
    }
    :: break
    od
}

active proctype markers() {
end:
    do
    :: d_step {
        !flying ->            /* sent */
        flying = true;
        noted = now;
        makes = rekey;
        rekey = false;
#ifndef SAME_KEY
        if :: makes -> number++ :: else fi
#endif
    };
        if
        :: d_step {
            !dead ->          /* executed; an own SET is not reported */
            if :: makes -> there = true; makes = false :: else fi;
            existed = there;
            if
#ifdef MARKER_FIRST
            :: there -> reports!!number
#else
            :: there -> reports!number
#endif
            :: else
            fi
        }
        :: dead -> break      /* the marker is lost, and no other one is sent: a gap */
        fi;
        if
        :: d_step { flying && !replied -> replied = true; finish() }
        :: !flying
        fi
    od
}

active proctype expires() {
    if
    :: d_step { there && !dead -> there = false; reports!number }
    :: true
    fi
}

active proctype subscriber() {
    byte m;
end:
    do
    :: d_step {
        !dead && nempty(reports) ->
        reports?m;
        if
        :: IS_MARKER(m) && flying && m == number -> echoed = true; finish()
        :: IS_MARKER(m) && (!flying || m != number)
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
