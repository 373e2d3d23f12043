/* SPDX-License-Identifier: MIT
 *
 * l2_gate: stamps, gates, filter, memo and doorbell of the disk level, one key, as built in
 * src/l2/put.c, gate.c, doorbell.c and src/cache/hook.c.
 *
 * PICTURE    change: L1's step raises the stamp -> kill: gate {filter says maybe, memo does not
 *            know: tombstone, whole; word out; memo in} -> acknowledged
 *            put:    captured stamp -> gate {open? stamp as captured? reserve, filter bit, memo out,
 *            word in} -> copy -> check
 *            frozen: a change that cannot get on closes, rings, counts itself, is acknowledged;
 *            the worker: gate passed -> FLOOR -> bell gone -> open
 * HOLDS      what a change ended is served by no read that begins after it was acknowledged, nor by
 *            the process that opens what a kill at any step leaves (MONITOR).
 * SWITCHES   PUTS= late demotions, CHANGES=, STORED an old record, TWO changers, NO_READER, FREEZE:
 *            the disk may stand still
 * MISTAKES   NO_STAMP MEMO_KEPT FILTER_AFTER_GATE NO_DOORBELL BELL_BEFORE_FLOOR REOPEN_PAST_GATES
 *            TOMB_AFTER_ACK TOMB_TORN UNGATED
 * LEFT OUT   segments, reclaim, warm-up (tests/sim/l2.c), other keys of the class. */
#ifndef PUTS
#define PUTS 2
#endif
#ifndef CHANGES
#define CHANGES 2
#endif
#define TOMBS (2 * CHANGES)
#define LOG 9

byte stamp = 0, now = 1, next = 1; /* L1 */
byte over = 0;                     /* versions up to it are over, acknowledged */
byte rec[LOG];                     /* version of a put, 0: tombstone */
bool whole[LOG];
byte tail = 0, flr = 0;            /* records below flr are dead */
byte word = 0;                     /* lsn + 1; 0: none */
bool filt = false, memo = false, gate = false;
bool shut = false, rung = false, bell = false;

#ifdef UNGATED
#define GATE skip
#define UNGATE skip
#else
#define GATE atomic { !gate -> gate = true }
#define UNGATE gate = false
#endif

inline tombstone()
{
    atomic { at = tail; rec[at] = 0; whole[at] = false; tail++ }
#ifndef TOMB_TORN
    whole[at] = true; /* AT(l2.tombstone) */
#endif
    word = 0;
    memo = true
}

proctype change()
{
    byte at = 0, ended = 0, n = 0;
    bool done = false;
    do
    :: n < CHANGES ->
        n++;
        atomic { ended = now; stamp++; next++; now = next }
        done = false;
        do
        :: !done && shut -> /* l2_closed_over */
#ifndef NO_DOORBELL
            if
            :: !rung -> bell = true /* AT(l2.bell_made) */
            :: else
            fi;
#endif
            atomic { if :: shut -> rung = true; done = true :: else fi }
        :: !done && !shut ->
#ifdef FREEZE
            if
            :: gate -> atomic { if :: !shut -> shut = true; rung = false :: else fi } /* frozen */
            :: GATE ->
#else
            GATE;
#endif
                /* AT(l2.kill_gate) */
                if
                :: !filt || memo
                :: filt && !memo ->
#ifdef TOMB_AFTER_ACK
                    over = (ended > over -> ended : over);
#endif
                    tombstone()
                fi;
                UNGATE;
#ifdef TOMB_TORN
                if
                :: filt -> whole[at] = true
                :: else
                fi;
#endif
                done = true
#ifdef FREEZE
            fi
#endif
        :: done -> break
        od;
        over = (ended > over -> ended : over)
    :: else -> break
    od
}

proctype put()
{
    byte s, v, at, n = 0;
    do
    :: n < PUTS ->
        n++;
        atomic { s = stamp; v = now }
        GATE;
        /* AT(l2.put_gate) */
        if
        :: shut || tail >= LOG - TOMBS -> UNGATE
        :: else ->
            if
#ifndef NO_STAMP
            :: stamp != s -> UNGATE
#endif
            :: else ->
                atomic { at = tail; rec[at] = v; whole[at] = false; tail++ }
#ifndef FILTER_AFTER_GATE
                filt = true;
#endif
#ifndef MEMO_KEPT
                memo = false;
#endif
                word = at + 1;
                UNGATE;
#ifdef FILTER_AFTER_GATE
                filt = true;
#endif
                /* AT(l2.put_copy) */
                whole[at] = true /* AT(l2.complete) */
            fi
        fi
    :: else -> break
    od
}

proctype worker()
{
    byte n = 0;
    do
    :: n < 2 && shut ->
        n++;
#ifndef REOPEN_PAST_GATES
        GATE;
        UNGATE;
#endif
        /* AT(l2.reopen) */
#ifdef BELL_BEFORE_FLOOR
        bell = false;
#endif
        flr = tail; /* AT(l2.reopen_floor) */
        bell = false; /* AT(l2.reopen_open) */
        atomic { shut = false; rung = false }
    :: n < 2 && !shut -> n++
    :: else -> break
    od
}

proctype reader()
{
    byte was, w, v, n = 0;
    do
    :: n < 2 ->
        n++;
        was = over;
        if
        :: shut
        :: else ->
            w = word;
            if
            :: w != 0 && w > flr ->
                atomic { v = (whole[w - 1] -> rec[w - 1] : 0) }
                assert(v == 0 || v > was)
            :: else
            fi
        fi
    :: else -> break
    od
}

/* A kill at any moment, and the next open. */
proctype monitor()
{
    byte i, v;
end:
    do
    :: atomic {
        i = tail;
        v = 0;
        do
        :: i > flr && !whole[i - 1] -> i--
        :: i > flr && whole[i - 1] -> v = rec[i - 1]; break
        :: i <= flr -> break
        od;
        assert(bell || v == 0 || v > over);
        i = 0;
        v = 0
    }
    od
}

init
{
    atomic {
#ifdef STORED
        rec[0] = 1; whole[0] = true; tail = 1; word = 1; filt = true;
#endif
        run change();
#ifdef TWO
        run change();
#endif
        run put();
#ifndef NO_READER
        run reader();
#endif
#ifdef FREEZE
        run worker();
#endif
        run monitor()
    }
}
