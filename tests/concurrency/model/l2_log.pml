/* SPDX-License-Identifier: MIT
 *
 * l2_log: one key in the log of the disk tier, as built in src/core/l2/write.c, log.c, pass.c and
 * stall.c, and in src/core/cache/stamp.c.
 *
 * PICTURE    change: L1's step raises the stamp -> shard {word? tombstone, word out; end of the
 *                    newest tombstone} -> written up to there -> acknowledged
 *            put:    captured stamp -> shard {log {stamp as captured? append} word in} -> written,
 *                    if it is durable or replaces a record or a tombstone that is not written
 *            write:  role {claim the tail, write, written = claim}: the file is a prefix of the log
 *            pass:   word leads here? shard {word still? copy, word} -> FLOOR, written -> shard
 *                    {word out} -> the place is used again
 *            frozen: a write does not end -> stall marker, then as if written; written -> removed
 *            A place of the log is a segment of its own.
 * HOLDS      No read that begins after a change was acknowledged returns an older version; nor does
 *            the process that opens the disk after a kill at any step (MONITOR). A durable put
 *            that was acknowledged, and is current, is found then.
 * SWITCHES   PUTS=, CHANGES=, PASSES= segments, TWO changers, STORED an old record, FREEZE: a write
 *            may hang, DROPS: a pass may leave a live record, NO_READER
 * MISTAKES   NO_STAMP WORD_UNLOCKED TOMB_UNWRITTEN ENDED_UNSEEN WORDS_FIRST
 *            PASS_NO_FLOOR COPY_UNLOCKED COPY_BLIND REUSED_FIRST NO_DOORBELL BELL_EARLY
 * LEFT OUT   a put that is the change itself (test_log_kill); rows, runs; power cuts
 *            (tests/crash/test_l2_crash.c, tests/concurrency/sim/l2.c); a tier that is closed
 *            (sim, test_l2_frozen). */
#ifndef PUTS
#define PUTS 2
#endif
#ifndef CHANGES
#define CHANGES 2
#endif
#ifndef PASSES
#define PASSES 0
#endif
#define LOG (2 + PUTS + 2 * CHANGES + 2 * PASSES)

#define TOMB 0
#define FLOOR 100 /* and the floor */

byte stamp = 0, now = 1, next = 1; /* L1 */
byte over = 0;                     /* dead versions up to it, acknowledged */
byte pending = 0;                  /* changes without a tombstone yet */
byte kept = 0;                     /* durable version, acknowledged; 0: none */
byte rec[LOG];                     /* version of a put; TOMB; FLOOR + lsn */
byte tail = 0, written = 0;
byte flr = 0, gone = 0;            /* records below: not served; their places are used again */
byte word = 0;                     /* lsn + 1; 0: none */
byte ended = 0;                    /* end of the newest tombstone */
bool gate = false, writing = false, bell = false;
byte owed = 0;

#define GATE atomic { !gate -> gate = true }
#define UNGATE gate = false
#define APPEND(r) atomic { at = tail; rec[tail] = r; tail++ }

/* l2_ensure: written up to `end`, or the marker is there */
inline ensure(end)
{
    do
    :: written >= end -> break
    :: atomic { written < end && !writing -> writing = true };
        c = tail; /* AT(l2.claimed) */
        written = c; /* AT(l2.written) */
        writing = false
#ifdef FREEZE
    :: written < end -> /* the write of another thread hangs */
        atomic {
#ifndef NO_DOORBELL
            bell = true; /* AT(l2.bell_made) */
#endif
            owed = (end > owed -> end : owed)
        };
        break
#endif
    od
}

/* l2_all_written */
inline all_written()
{
    atomic {
        if
#ifdef BELL_EARLY
        :: bell -> bell = false; owed = 0
#else
        :: bell && written >= owed -> bell = false; owed = 0
#endif
        :: else
        fi
    }
}

proctype change()
{
    byte was = 0, at = 0, end = 0, c = 0, n = 0;
    do
    :: n < CHANGES ->
        n++;
        atomic { was = now; stamp++; next++; now = next; pending++; kept = 0 }
        GATE;
        /* AT(l2.kill_lock) */
        if
        :: word != 0 -> APPEND(TOMB); word = 0; ended = at + 1; end = ended
        :: else ->
#ifdef ENDED_UNSEEN
            end = 0
#else
            end = ended
#endif
        fi;
        UNGATE;
#ifndef TOMB_UNWRITTEN
        ensure(end);
#endif
        all_written();
        atomic { pending--; over = (was > over -> was : over); was = 0; at = 0; end = 0; c = 0 }
    :: else -> break
    od
}

proctype put()
{
    byte s = 0, v = 0, at = 0, end = 0, c = 0, n = 0;
    bool clean = false, durable = false;
    do
    :: n < PUTS ->
        n++;
        atomic { s = stamp; v = now; clean = (pending == 0) }
        if
        :: durable = true
        :: durable = false
        fi;
        GATE;
        /* AT(l2.put_lock) */
        if
#ifndef NO_STAMP
        :: stamp != s -> UNGATE
#endif
        :: else ->
            APPEND(v);
#ifdef WORD_UNLOCKED
            UNGATE;
            GATE;
#endif
            end = (word != 0 || ended > written || durable -> at + 1 : 0);
            word = at + 1;
            UNGATE;
            ensure(end);
            all_written();
            atomic {
                if
                :: durable && clean && now == v && pending == 0 && !bell -> kept = v
                :: else
                fi
            }
        fi;
        atomic { s = 0; v = 0; at = 0; end = 0; c = 0; clean = false; durable = false }
    :: else -> break
    od
}

inline words_out()
{
    GATE;
    if
    :: word == gone + 1 -> word = 0
    :: else
    fi;
    UNGATE
}

inline copy()
{
#ifndef COPY_UNLOCKED
    GATE;
#endif
    if
#ifdef COPY_BLIND
    :: true ->
#else
    :: word == gone + 1 ->
#endif
        APPEND(rec[gone]);
        word = at + 1 /* AT(l2.moved) */
    :: else
    fi;
#ifndef COPY_UNLOCKED
    UNGATE
#else
    skip
#endif
}

/* The worker, or the call that makes room. */
proctype pass()
{
    byte at = 0, c = 0, n = 0;
    do
    :: n < PASSES && gone < tail ->
        n++;
        if
        :: rec[gone] > TOMB && rec[gone] < FLOOR && word == gone + 1 -> copy()
#ifdef DROPS
        :: kept = 0 /* it may be lost from now on */
#endif
        :: else
        fi;
        /* AT(l2.passed) */
#ifdef WORDS_FIRST
        words_out();
#endif
        flr = gone + 1;
#ifndef PASS_NO_FLOOR
        APPEND(FLOOR + gone + 1);
#ifdef REUSED_FIRST
        gone++;
#endif
        ensure(at + 1);
#endif
        /* AT(l2.floored) */
#ifndef REUSED_FIRST
        words_out();
        gone++
#endif
    :: n < PASSES && tail == gone -> break
    :: n == PASSES -> break
    od;
    all_written()
}

proctype reader()
{
    byte was, w;
    was = over;
    w = word;
    if
    :: w > flr -> assert(rec[w - 1] > was)
    :: else
    fi
}

/* A kill at any moment, and the next open: the newest record of the key that no FLOOR passed. */
proctype monitor()
{
    byte i, v, f;
end:
    do
    :: atomic {
        f = gone;
        i = gone;
        do
        :: i < written -> f = (rec[i] > FLOOR && rec[i] - FLOOR > f -> rec[i] - FLOOR : f); i++
        :: else -> break
        od;
        v = 0;
        i = f;
        do
        :: i < written -> v = (rec[i] < FLOOR -> rec[i] : v); i++
        :: else -> break
        od;
        assert(bell || v == 0 || v > over);
        assert(bell || kept == 0 || v == kept);
        i = 0;
        v = 0;
        f = 0
    }
    od
}

init
{
    atomic {
#ifdef STORED
        rec[0] = 1; tail = 1; written = 1; word = 1; kept = 1;
#endif
        run change();
#ifdef TWO
        run change();
#endif
        run put();
#if PASSES > 0
        run pass();
#endif
#ifndef NO_READER
        run reader();
#endif
        run monitor()
    }
}
