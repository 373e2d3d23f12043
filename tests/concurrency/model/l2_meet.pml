/* SPDX-License-Identifier: MIT
 *
 * l2_meet: the end of a pattern, or of a tag, meets one entry that goes down and comes back, as
 * built in src/core/cache/delete_pattern.c and stamp.c, and in src/core/l2/invalidations.c, write.c,
 * read.c, log.c and pass.c.
 *
 * PICTURE    end:   row entered -> ends + 1 -> control appended and written -> row knows its lsn
 *                   pattern: -> epoch + 1 -> L1 walked -> epoch + 1 -> row walks no more
 *            put:   captured with the epoch -> ends noted -> not walking, tag valid? -> log {ends
 *                   as noted? epoch as captured? append}
 *            get:   epoch -> word -> bytes -> row or tag? -> below the floor? -> L1 {epoch as read}
 *            pass:  floor, and a FLOOR that is written -> word out -> the place is used again; rows
 *                   below the floor are forgotten
 *            move:  before that: ends noted -> row or tag? -> log {ends as noted? word as noted?
 *                   append}
 *            A place of the log is a segment of its own.
 * HOLDS      No read that begins after an invalidation returned serves an entry that it made dead.
 *            The entry is not in L1, nor in the process that opens the disk after a kill at any
 *            step (MONITOR). LISTS: no list of patterns is freed under a reader. LIVE: the call
 *            returns.
 * SWITCHES   TAG: a tag, else a pattern; PUTS=, GETS= rounds, TWO: a second putter; NO_GET,
 *            NO_WORKER; ROOMLESS: the control may find no space, then all older records are given
 *            up; LISTS alone: how lists are replaced; MOVES= records that the worker moves
 * MISTAKES   PUT_PAST_ENDS PUT_PAST_WALKS END_AFTER_LOG GLOB_NO_EPOCH GLOB_NO_END
 *            BACKFILL_PAST_GLOB ROW_AFTER_LOG ENDS_BEFORE_ROW NOTED_LATE ENDS_BEFORE_LOCK
 *            WALK_OVER_FIRST FLOOR_FIRST FORGOTTEN_EARLY WALK_BY_LSN LIST_BEFORE_COUNT
 *            COUNT_BEFORE_SWAP MOVE_PAST_ENDS MOVE_PAST_ROW
 * LEFT OUT   changes of the key, and when records are written (l2_log.pml); full tables (sim,
 *            l2_ends). */
#ifndef PUTS
#define PUTS 2
#endif
#ifndef GETS
#define GETS 1
#endif
#ifndef MOVES
#define MOVES 0
#endif
#ifdef TWO
#define LOG (2 + 2 * PUTS + MOVES)
#else
#define LOG (2 + PUTS + MOVES)
#endif
#define NEVER 255

mtype = { put_rec, control };
mtype rec[LOG];
byte tail = 0, gone = 0, hfloor = 0; /* below gone: places used again; below hfloor: a FLOOR */
byte word = 0;                           /* place + 1; 0: none */
bool has = false, bucket = false, log = false;
byte ends = 0, epoch = 0;
bool row = false, walking = false;
byte row_lsn = NEVER;
bool hard = false;                       /* the tag, in the owner's table: never forgotten there */
bool over = false;                       /* the invalidation has returned */

#define BUCKET atomic { !bucket -> bucket = true }
#define UNBUCKET bucket = false
#define TAKE_LOG atomic { !log -> log = true }

/* Under the lock of the log. */
inline reserve(what)
{
    atomic {
        at = tail;
        rec[at] = what;
        tail++
    }
}

/* l2_control_log. ROOMLESS: older records are dead, a FLOOR states it, and there is no control. */
inline log_control()
{
    atomic {
        !log;
        if
#ifdef ROOMLESS
        :: hfloor = tail; gone = tail; word = 0; at = NEVER
#endif
        :: reserve(control)
        fi
    }
}

inline enter_row()
{
    atomic { row = true; row_lsn = NEVER;
#ifndef TAG
        walking = true
#endif
    }
}

proctype ender()
{
    byte at;
#ifdef TAG
    hard = true;
#endif
#ifdef ROW_AFTER_LOG
    log_control();
    enter_row();
    ends++;
#elif defined(ENDS_BEFORE_ROW)
    ends++;
    enter_row();
    log_control();
#elif defined(END_AFTER_LOG)
    enter_row();
    log_control();
    ends++;
#else
    enter_row(); /* AT(l2.end_entered) */
    ends++;      /* AT(l2.end_raised) */
    log_control();
#endif
    atomic { row_lsn = (at == NEVER -> 0 : at) }
#ifndef TAG
#ifndef GLOB_NO_EPOCH
    epoch++; /* AT(tier.glob_told) */
#endif
    BUCKET;
    has = false;
    UNBUCKET;
    /* AT(tier.glob_walked) */
#ifdef WALK_OVER_FIRST
    walking = false;
#endif
#ifndef GLOB_NO_END
    epoch++;
#endif
    walking = false;
#endif
    over = true
}

/* A row that walks counts, whatever the place of its control. */
#ifdef WALK_BY_LSN
#define KEPT_OUT (walking && row_lsn != 0)
#elif defined(PUT_PAST_WALKS)
#define KEPT_OUT false
#else
#define KEPT_OUT walking
#endif
#ifdef PUT_PAST_ENDS
#define ENDS_MOVED false
#else
#define ENDS_MOVED (ends != e)
#endif

proctype putter()
{
    byte s, e, at, n = 0, round;
    bool v, bad;
    do
    :: n < PUTS ->
        n++;
        BUCKET;
        atomic { v = has; has = false; s = epoch; UNBUCKET }
        round = 0;
        do
        :: v && round < 2 ->
            round++;
#ifdef NOTED_LATE
            bad = hard || KEPT_OUT;
            e = ends;
#else
            e = ends; /* AT(l2.put_noted) */
            bad = hard || KEPT_OUT;
#endif
            if
            :: bad -> v = false
            :: else ->
#ifdef ENDS_BEFORE_LOCK
                bad = ENDS_MOVED;
                TAKE_LOG;
#else
                TAKE_LOG;
                bad = ENDS_MOVED;
#endif
                if
                :: bad -> log = false /* once more */
                :: else ->
                    if
                    :: epoch != s -> log = false; v = false
                    :: else ->
                        reserve(put_rec);
                        atomic { word = at + 1; log = false }
                        v = false
                    fi
                fi
            fi
        :: else -> break
        od;
        v = false
    :: else -> break
    od
}

inline ask_row()
{
    atomic {
        if
#ifdef TAG
        :: hard -> v = false
#else
        :: row && row_lsn > i -> v = false
#endif
        :: else
        fi
    }
}
inline ask_floor()
{
    if
    :: i < hfloor -> v = false
    :: else
    fi
}

proctype getter()
{
    byte g, i, n = 0;
    bool v, was;
    do
    :: n < GETS ->
        n++;
        was = over;
        g = epoch;
        atomic { v = (word != 0); i = (v -> word - 1 : 0) }
        if
        :: v ->
            v = (i >= gone); /* the bytes, and then that it is the same segment */
#ifdef FLOOR_FIRST
            ask_floor();
            ask_row();
#else
            ask_row();
            ask_floor();
#endif
            assert(!(v && was));
            BUCKET;
            if
#ifdef BACKFILL_PAST_GLOB
            :: v && !has -> has = true
#else
            :: v && !has && epoch == g -> has = true
#endif
            :: else
            fi;
            UNBUCKET
        :: else
        fi
    :: else -> break
    od
}

/* Rows whose control is at a place where no record counts any more. */
inline forget()
{
    atomic {
        if
#ifdef FORGOTTEN_EARLY
        :: row && row_lsn != NEVER && !walking && row_lsn <= gone + 1 -> row = false
#elif defined(TAG)
        :: row && row_lsn < hfloor -> row = false
#else
        :: row && row_lsn <= hfloor && !walking -> row = false
#endif
        :: else
        fi
    }
}

#ifdef MOVE_PAST_ROW
#define ENDED(at) false
#elif defined(TAG)
#define ENDED(at) hard
#else
#define ENDED(at) (row && row_lsn > at)
#endif

/* Append the record of `gone` again, if it is alive. */
inline move()
{
    e = ends;
    atomic { t = (word == gone + 1 && rec[gone] == put_rec && !ENDED(gone)) }
    if
    :: t ->
        n++;
        TAKE_LOG;
        if
#ifdef MOVE_PAST_ENDS
        :: word != gone + 1 -> log = false
#else
        :: word != gone + 1 || ends != e -> log = false
#endif
        :: else ->
            reserve(put_rec);
            atomic { word = at + 1; log = false } /* AT(l2.moved) */
        fi
    :: else
    fi;
    t = false
}

proctype worker()
{
    byte e, at, n = 0;
    bool t;
    do
    :: n < MOVES && gone < tail -> move() /* records of other keys lie behind it */
    :: gone + 1 < tail ->
        hfloor = (gone + 1 > hfloor -> gone + 1 : hfloor);
        if
        :: word == gone + 1 -> word = 0
        :: else
        fi;
        gone++
    :: row && row_lsn != NEVER -> forget()
    :: atomic { gone + 1 >= tail && over -> break }
    od
}

/* A kill now, and the next open. The FLOOR of a pass may not be written yet. */
proctype monitor()
{
    byte i, c;
    bool known;
end:
    do
    :: atomic {
        over ->
        i = gone;
        do
        :: i < tail && rec[i] == control -> known = true; c = i; i++
        :: i < tail && rec[i] != control -> i++
        :: i >= tail -> break
        od;
        i = gone;
        do
#ifdef TAG
        :: i < tail -> assert(rec[i] != put_rec || known); i++
#else
        :: i < tail -> assert(rec[i] != put_rec || (known && i < c)); i++
#endif
        :: i >= tail -> break
        od;
#ifndef TAG
        assert(!has);
#endif
        i = 0; c = 0; known = false
    }
    od
}

/* ---- lists of patterns ---- */

byte list = 1, readers = 0;
bool freed[5];

proctype matcher()
{
    byte t, n = 0;
    do
    :: n < 2 ->
        n++;
#ifdef LIST_BEFORE_COUNT
        t = list;
        readers++;
#else
        readers++;
        t = list;
#endif
        assert(!freed[t]);
        assert(!freed[t]);
        readers--
    :: else -> break
    od
}

proctype replacer()
{
    byte i, n = 0;
    bool none;
    do
    :: n < 3 ->
        n++;
#ifdef COUNT_BEFORE_SWAP
        none = (readers == 0);
        list++;
#else
        list++;
        none = (readers == 0);
#endif
        if
        :: none ->
            atomic {
                i = 1;
                do
                :: i < list -> freed[i] = true; i++
                :: else -> break
                od
            }
        :: else
        fi
    :: else -> break
    od
}

init
{
    atomic {
#ifdef LISTS
        run matcher();
        run matcher();
        run replacer();
#else
        if
        :: has = true
        :: rec[0] = put_rec; tail = 1; word = 1
        fi;
        run ender();
        run putter();
#ifdef TWO
        run putter();
#endif
#ifndef NO_GET
        run getter();
#endif
#ifndef NO_WORKER
        run worker();
#endif
        run monitor()
#endif
    }
}

#ifdef LIVE
ltl { <> over }
#endif
