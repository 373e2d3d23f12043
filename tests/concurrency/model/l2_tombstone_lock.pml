/* SPDX-License-Identifier: MIT
 *
 * l2_tombstone_lock: stamps, tombstone_locks, filter, memo and doorbell of the disk level, one key, as built in
 * src/core/l2/write.c, tombstone_filter.c, stall.c, reopen.c and src/core/cache/stamp.c.
 *
 * PICTURE    change: L1's step raises the stamp -> kill: filter says maybe -> gate {memo does not
 *            know: tombstone, whole; word out; memo in} -> acknowledged
 *            put:    captured stamp -> gate {log {open? filter bit; then: stamp as captured?
 *            reserve} memo out, word in} -> copy -> check
 *            frozen: a change that cannot get on closes, rings, enters the list, is acknowledged;
 *            the worker: list logged -> open in the step that finds the list empty -> bell removed
 *            while RUNG alone is set; a bell that was made too late is removed in the same way
 *            `closed` of the code is three variables: shut, rung and cnt (removals of the bell); a hold of
 *            `owed.lock` is one atomic step
 * HOLDS      No read that begins after a change was acknowledged returns an older version; nor does
 *            the process that opens the disk after a kill at any step (MONITOR). No doorbell is
 *            left that no thread relies on and no thread will remove.
 * SWITCHES   PUTS= late demotions, CHANGES=, ROUNDS= of the worker, STORED an old record, TWO
 *            changers, NO_READER, FREEZE: the disk may hang, ROOMLESS: the list takes no change,
 *            WAITS= tries of changes that find no room in the log
 * MISTAKES   NO_STAMP MEMO_KEPT FILTER_AFTER_LOCK FILTER_AFTER_LOOK NO_DOORBELL BELL_BEFORE_LIST
 *            CLOSED_BEFORE_LOG
 *            TOMB_AFTER_ACK TOMB_TORN UNGATED WAIT_GIVES_UP
 *            WORD_COMES_BACK (a removal does not count) TIDY_UNRUNG LATE_FORGOTTEN OWED_UNSEEN
 * LEFT OUT   segments, reclaim, warm-up (tests/concurrency/sim/l2.c), other keys of the bunch. */
#ifndef PUTS
#define PUTS 2
#endif
#ifndef CHANGES
#define CHANGES 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef WAITS
#define WAITS 0
#endif
#define TOMBS (2 * CHANGES)
#define LOG 9

byte stamp = 0, now = 1, next = 1; /* L1 */
byte over = 0;                     /* dead versions up to it, acknowledged */
byte rec[LOG];                     /* version of a put, 0: tombstone */
bool whole[LOG];
byte tail = 0, flr = 0;            /* records below flr are dead */
byte word = 0;                     /* lsn + 1; 0: none */
byte waits = 0;                    /* tries without room so far */
bool filt = false, memo = false, gate = false, log = false;
bool shut = false, rung = false, bell = false, late = false;
bool owed = false, spilt = false;   /* the list has a change of the key; it had no room for one */
byte cnt = 0, busy = 0;            /* of `closed`; changes and workers not yet through */

#ifdef UNGATED
#define GATE skip
#define UNGATE skip
#else
#define GATE atomic { !gate -> gate = true }
#define UNGATE gate = false
#endif

inline tombstone()
{
    atomic { !log -> at = tail; rec[at] = 0; whole[at] = false; tail++ }
#ifndef TOMB_TORN
    whole[at] = true; /* AT(l2.tombstone) */
#endif
    word = 0;
    memo = true
}

#define SAME(w) (shut == w.shut && rung == w.rung && cnt == w.cnt)
typedef word3 { bool shut, rung; byte cnt }
#define LOOK(w) atomic { w.shut = shut; w.rung = rung; w.cnt = cnt }

/* l2_closed_over: done says that the doorbell is relied on */
inline closed_over()
{
    made = false;
    LOOK(w);
    do
    :: w.shut && !done ->
#ifndef NO_DOORBELL
        if
        :: !w.rung -> bell = true; made = true /* AT(l2.bell_made) */
        :: else
        fi;
#endif
        atomic {
            if
            :: shut == w.shut && cnt == w.cnt -> rung = true; done = true;
#ifdef ROOMLESS
                spilt = true
#else
                owed = true
#endif
            :: else -> w.shut = shut; w.rung = rung; w.cnt = cnt
            fi
        }
    :: else -> break
    od;
#ifndef LATE_FORGOTTEN
    if
    :: made && !done && !shut -> late = true
    :: else
    fi;
#endif
    made = false
}

inline close_tier()
{
    LOOK(w);
    atomic { if :: !w.shut && !w.rung && SAME(w) -> shut = true :: else fi }
}

proctype change()
{
    byte at = 0, ended = 0, n = 0;
    bool done = false, made = false, again = false;
    word3 w;
    do
    :: n < CHANGES ->
        n++;
        atomic { ended = now; stamp++; next++; now = next }
        done = false;
        do
        :: !done ->
            /* AT(l2.kill_asks) */
            if
            :: !filt -> done = true; goto through
            :: else
            fi;
            if
            :: shut -> closed_over()
            :: else ->
#ifdef FREEZE
                if
                :: close_tier() /* frozen: the gate, or the log, is not available */
                :: GATE ->
#else
                GATE;
#endif
                    /* AT(l2.kill_lock) */
                    if
                    :: memo
                    :: !memo && waits < WAITS -> waits++; again = true /* the log has no room */
                    :: !memo ->
#ifdef TOMB_AFTER_ACK
                        over = (ended > over -> ended : over);
#endif
                        tombstone()
                    fi;
                    UNGATE;
#ifdef TOMB_TORN
                    whole[at] = true;
#endif
#ifdef WAIT_GIVES_UP
                    again = false;
#endif
                    done = !again;
                    again = false
#ifdef FREEZE
                fi
#endif
            fi;
through:
        :: done -> break
        od;
        over = (ended > over -> ended : over)
    :: else -> break
    od;
    busy--
}

proctype put()
{
    byte s, v, at, n = 0;
    bool c;
    do
    :: n < PUTS ->
        n++;
        atomic { s = stamp; v = now }
        GATE;
        /* AT(l2.put_lock) */
#ifdef CLOSED_BEFORE_LOG
        c = shut;
        atomic { !log -> log = true };
#else
        atomic { !log -> log = true };
        c = shut;
#endif
        if
        :: c || tail >= LOG - TOMBS -> log = false; UNGATE
        :: else ->
#if !defined(FILTER_AFTER_LOCK) && !defined(FILTER_AFTER_LOOK)
            filt = true;
#endif
            /* AT(l2.put_named) */
            if
#ifndef NO_STAMP
            :: stamp != s -> log = false; UNGATE
#endif
            :: else ->
#ifdef FILTER_AFTER_LOOK
                filt = true; /* AT(l2.put_looked) */
#endif
                atomic { at = tail; rec[at] = v; whole[at] = false; tail++; log = false }
#ifndef MEMO_KEPT
                memo = false;
#endif
                word = at + 1;
                UNGATE;
#ifdef FILTER_AFTER_LOCK
                filt = true; /* AT(l2.put_late) */
#endif
                /* AT(l2.put_copy) */
                whole[at] = true /* AT(l2.complete) */
            fi
        fi
    :: else -> break
    od
}

/* l2_marker_tidy: MARKED alone keeps other threads from closing meanwhile. */
inline tidy(is_late)
{
#ifdef TIDY_UNRUNG
    took = !shut;
#else
    atomic { took = !shut; if :: took -> rung = true :: else fi };
#endif
    if
    :: took ->
        if
        :: is_late -> late = false
        :: else
        fi;
        bell = false;
#ifdef TIDY_UNRUNG
        skip
#else
        atomic {
            rung = false;
#ifndef WORD_COMES_BACK
            cnt++
#endif
        }
#endif
    :: else
    fi
}

proctype worker()
{
    byte n = 0, at = 0;
    bool took = false;
    do
    :: n < ROUNDS ->
        n++;
        if
        :: late -> tidy(true)
        :: else
        fi;
        if
        :: shut ->
            /* AT(l2.reopen) */
#ifdef BELL_BEFORE_LIST
            bell = false;
#endif
            took = false;
            do
            :: !took ->
                if
                :: spilt ->
                    atomic { !log -> flr = tail }; /* AT(l2.reopen_floor) */
                    spilt = false
                :: else
                fi;
                if
                :: owed ->
                    GATE;
                    if
                    :: memo
                    :: !memo -> tombstone()
                    fi;
                    UNGATE;
                    /* AT(l2.owed_logged) */
                    owed = false
                :: else
                fi;
                atomic {
#ifdef OWED_UNSEEN
                    took = true;
#else
                    took = !owed && !spilt;
#endif
                    if
                    :: took -> shut = false
                    :: else
                    fi
                }
            :: else -> break
            od;
            /* AT(l2.reopen_open) */
            tidy(false)
        :: else
        fi
    :: else -> break
    od;
    busy--
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
        assert(busy > 0 || !bell || shut || late);
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
        busy = 1;
        run change();
#ifdef TWO
        busy++;
        run change();
#endif
        run put();
#ifndef NO_READER
        run reader();
#endif
#ifdef FREEZE
        busy++;
        run worker();
#endif
        run monitor()
    }
}
