/* SPDX-License-Identifier: MIT
 *
 * remote_journal: writes of one key that the server has not confirmed, and how they are sent again.
 *
 * PICTURE    write: SET or DROP -> confirmed | cut: fate unknown -> entry in the table -> DEFERRED
 *            table: one entry {delete | value, change} -> batch {entry as of now} -> confirmed: the
 *            entry leaves if its change is that of the batch | cut: a value becomes a delete
 *            DROP: SET and UNLINK in a script, so it is reported to all, with or without a key
 * THREADS    Writer: WRITES writes of process A (THROUGH, or BEHIND with QUEUE), the last one a
 *            delete; Sender of the table; Stranger: one SET, or none; B: a process with a value in memory
 *            that it loaded by itself; CUTS cuts of the link of A, before or behind the server.
 * SHOWN      When all is quiet, no write of A that was deferred, deleted or overtaken is in the
 *            server, and B has no value in memory that the server does not have. KEEPS: the last
 *            write of A is a set, and the server has it if it was confirmed. No value is
 *            executed twice: a newer one of the stranger may be there. A get of A behind a deferred
 *            write returns no value of before.
 * MUTANTS    in the model only: NO_JOURNAL (an unknown fate leaves no entry), REPLAY_VALUE (a value
 *            with an unknown fate is sent again), CONFIRM_ANY (a confirmed batch takes the entry
 *            whatever its change), TURN_SAME (a value that becomes a delete keeps its change),
 *            NO_SETTLE (a set does not send the waiting delete first),
 *            JOURNAL_UNSEEN (a get asks the server beside a deferred write), PLAIN_DROP (UNLINK
 *            alone: no key, no report).
 * LIMITS     One key. Entries end and tracking: remote_coherence. The full journal is a clear. */
#ifndef WRITES
#define WRITES 2
#endif
#ifndef CUTS
#define CUTS 2
#endif
#define NONE 0
#define DELETE 1
#define VALUE 2

#ifdef NO_KEY                 /* memory of B has a value, the server has none */
byte db = 0, top = 1;
#else
byte db = 1, top = 1;         /* value in the server, 0: none; the newest one that was made */
#endif
byte done;                    /* values that the server has executed, one bit each */
byte mem_b = 1;               /* of B; 1: its own load */
bool report_b;                /* a report is on its way to B */
byte entry, change, content;  /* of the table of A: kind, number of the write, its value */
byte changes, cuts;
byte deferred;                /* newest value when a write of A was deferred last */
byte strange;                 /* value of the stranger; 0: not yet */
bool wrote, ended, came;
bool posted;                  /* a batch is in front of later writes: one connection keeps order */
byte kept;                    /* the last write of A, if it was confirmed */

inline drop() {
#ifdef PLAIN_DROP
    if :: db != 0 -> report_b = true :: else fi;
#else
    report_b = true;
#endif
    db = 0
}

inline set(v) {
    assert((done & (1 << v)) == 0);
    done = done | (1 << v);
    db = v;
    report_b = true
}

inline note(kind, v) {        /* newest wins */
    changes++;
    entry = kind;
    change = changes;
    content = v
}

active proctype writer() {
    byte n, v, number;
    do
    :: n < WRITES ->
        n++;
        d_step {
            v = 0;
            kept = 0;
#ifdef KEEPS
            top++; v = top
#else
            if :: n < WRITES -> top++; v = top :: else fi
#endif
        };
#if !defined(QUEUE) && !defined(NO_SETTLE)
        if
        :: d_step { v != 0 && entry == DELETE && !posted -> drop(); number = change };
            d_step { if :: entry == DELETE && change == number -> entry = NONE :: else fi }
        :: d_step { v != 0 && entry == DELETE && cuts < CUTS -> cuts++ };
            if :: d_step { !posted -> drop() } :: true fi;
            d_step { note(DELETE, 0); deferred = top };
            goto next
        :: d_step { v == 0 || entry == NONE -> skip }
        fi;
#endif
#ifdef QUEUE
        d_step {
            if
            :: v != 0 -> note(VALUE, v)
            :: v == 0 && entry != NONE -> /* needs no room */
                entry = DELETE;
                content = 0;
#ifndef TURN_SAME
                changes++;
                change = changes
#endif
            :: else -> note(DELETE, 0)
            fi
        };
#else
        if
        :: d_step { !posted ->   /* confirmed */
            kept = v;
            if :: v != 0 -> set(v) :: else -> drop() fi
        };
        :: d_step { cuts < CUTS -> cuts++ }; /* cut: at the server, or before it */
            if
            :: d_step { !posted -> if :: v != 0 -> set(v) :: else -> drop() fi }
            :: true
            fi;
#ifndef NO_JOURNAL
            d_step { note(DELETE, 0); deferred = top }
#else
            d_step { deferred = top }
#endif
        fi;
next:   skip
#endif
    :: else -> break
    od;
    wrote = true
}

active proctype sender() {    /* one batch at a time */
    byte kind, number, v;
    do
    :: d_step { entry != NONE -> kind = entry; number = change; v = content; posted = true };
        if
        :: d_step { true -> posted = false; if :: kind == VALUE -> set(v) :: else -> drop() fi };
            d_step {          /* confirmed */
                if
#ifdef CONFIRM_ANY
                :: true -> entry = NONE
#else
                :: entry != NONE && change == number -> entry = NONE
                :: else
#endif
                fi
            }
        :: d_step { cuts < CUTS -> cuts++ };
            if
            :: d_step { true -> posted = false; if :: kind == VALUE -> set(v) :: else -> drop() fi }
            :: posted = false
            fi;
            d_step {
                if
#ifndef REPLAY_VALUE
                :: entry == VALUE -> entry = DELETE; changes++; change = changes
#endif
                :: else
                fi
            }
        fi;
        d_step { kind = 0; number = 0; v = 0 }
    :: wrote && entry == NONE -> break
    od;
    ended = true
}

active proctype stranger() {
    if :: d_step { top++; strange = top; set(strange) } :: true fi;
    came = true
}

active proctype gets() {      /* of A, without memory */
    byte old, v;
    do
    :: !ended ->
        old = deferred;
        d_step {
            v = 0;
            if
#ifdef JOURNAL_UNSEEN
            :: true -> v = db
#else
            :: entry == NONE -> v = db
            :: entry == VALUE -> v = content
            :: else           /* a miss */
#endif
            fi
        };
        assert(v == 0 || old == 0 || v > old || v == strange);
        d_step { old = 0; v = 0 }
    :: ended -> break
    od
}

active proctype b() {
end:
    do
    :: d_step { report_b -> report_b = false; mem_b = 0 }
    od
}

init {
    ended && came;
    timeout;
    assert(mem_b == 0);
#ifdef KEEPS
    assert(db == kept || db == strange)
#else
    assert(db == 0 || db == strange)
#endif
}
