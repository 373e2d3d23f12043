/* SPDX-License-Identifier: MIT
 *
 * l1_pin: pinned bytes keep their place and their content.
 *
 * PICTURE    one key, one bucket {version, link}, two segments of one record {w0, VA, VB}, one
 *            slot a pinner. w0's only bit here is PINNED.
 * THREADS    TWO      a second Pinner (l1_pin_hit, l1_pin; FALL: its last round too)
 *            WRITES=n Writer (set in place, PINNED: append; the emptied segment is scanned)
 *            CURSOR=n Cursor (drop, or keep = copy to the other segment; scan; reuse by another)
 *            COUNT    Counter (incr in place)
 * SWITCHES   LONG: values above 1 KiB, never written in place, no PINNED bit needed.
 * GHOSTS     hold[i] = position that pinner i was given; uses[q] = times a position was reused.
 * SHOWN      Between pin and unpin no thread reuses the segment, and the bytes do not change.
 *            PINNED is set in memory of that record only.
 * MUTANTS    PIN_PLAIN_STORE (only behind store buffers) PIN_NO_SECOND_RECHECK PIN_LATE_LOOK
 *            W0_BEFORE_LOCK as in the code; and PIN_NO_FIRST_RECHECK, NO_BIT, COUNT_BLIND (incr
 *            does not look at PINNED), SCAN_BEFORE_UNLINK, LOCKED_BIT_LATE (the last round sets
 *            the bit after it unlocked). */
#define NM 10
#define NP 5
#define SBN 5
#include "memory.h"
#define VER 0
#define LNK 1
#define SLOT(i) (2 + (i))
#define W0(q) (4 + 3 * ((q) - 1))
#define VA(q) (5 + 3 * ((q) - 1))
#define VB(q) (6 + 3 * ((q) - 1))
#define EVEN ((mem[VER] & 1) == 0)
#ifndef WRITES
#define WRITES 0
#endif
#ifndef CURSOR
#define CURSOR 0
#endif

#define FREE 0
#define OURS 1
#define PARKED 2
bool stripe;
byte state[3], hold[2], uses[3];

inline TAKE_STRIPE(p) { atomic { DRAINED(p) && !stripe -> stripe = true } }
inline DROP_STRIPE(p) { atomic { DRAINED(p) -> stripe = false } }
inline LOCK(p, v) { AT(l1.lock) atomic { DRAINED(p) && EVEN -> v = mem[VER]; mem[VER] = v + 1 } }
inline UNLOCK(p, v) { ST(p, VER, v + 2) }
#define NAMED(q) (mem[SLOT(0)] == (q) || mem[SLOT(1)] == (q))

proctype Pinner(byte i) { byte v, o, w, x, y, n, g;
again:
  n++; if :: n > 3 -> goto done :: else fi;
#ifdef FALL
  if :: true -> LOCK(i, v); d_step { o = mem[LNK]; g = (o != 0 -> uses[o] : 0) };
        if :: o == 0 -> UNLOCK(i, v); goto done :: else fi;
        atomic { DRAINED(i) -> mem[SLOT(i)] = o };
#ifdef LOCKED_BIT_LATE
        UNLOCK(i, v); atomic { DRAINED(i) -> mem[W0(o)] = mem[W0(o)] | 1 };
#else
        atomic { DRAINED(i) -> mem[W0(o)] = mem[W0(o)] | 1 }; UNLOCK(i, v);
#endif
        goto have
     :: true
  fi;
#endif
  atomic { EVEN -> v = mem[VER] };
  d_step { o = mem[LNK]; g = (o != 0 -> uses[o] : 0) };
  if :: mem[VER] != v -> goto again :: else fi;
  if :: o == 0 -> goto done :: else fi;
#ifdef PIN_PLAIN_STORE
  ST(i, SLOT(i), o);
#else
  atomic { DRAINED(i) -> mem[SLOT(i)] = o };
#endif
  AT(l1.pin.published)
#ifndef PIN_NO_FIRST_RECHECK
  if :: mem[VER] != v -> ST(i, SLOT(i), 0); goto again :: else fi;
#endif
#ifndef LONG
#ifdef PIN_LATE_LOOK
  if :: true -> if :: mem[VER] != v -> ST(i, SLOT(i), 0); goto again :: else fi;
        if :: mem[W0(o)] & 1 -> goto have :: else -> ST(i, SLOT(i), 0); goto again fi
     :: true
  fi;
#endif
#ifndef NO_BIT
  AT(l1.pin.looked) w = mem[W0(o)];
  if :: (w & 1) == 0 ->
        atomic { DRAINED(i) -> assert(uses[o] == g); mem[W0(o)] = mem[W0(o)] | 1 }
     :: else
  fi;
#endif
  AT(l1.pin.ored)
#ifndef PIN_NO_SECOND_RECHECK
  if :: mem[VER] != v -> ST(i, SLOT(i), 0); goto again :: else fi;
#endif
#endif
have: skip;
  d_step { assert(uses[o] == g); hold[i] = o; x = mem[VA(o)] };
  y = mem[VB(o)]; assert(x == y);
  assert(mem[VA(o)] == x); assert(mem[VB(o)] == y);
  d_step { hold[i] = 0; x = 0; y = 0; v = 0; o = 0; g = 0; w = 0 }; ST(i, SLOT(i), 0);
done: skip }

/* l1_seg_release once the count is 0: a segment named by a slot is parked. */
inline RELEASE(p, q) {
  if :: q == 0 :: else -> DRAINED(p);
        if :: NAMED(q) -> state[q] = PARKED :: else -> state[q] = FREE fi
  fi }
/* l1_seg_find: free, or parked and no longer named. A slot may be set between the two scans: the
 * pinner's first recheck then fails. */
inline SEG_TAKE(p, n) {
  DRAINED(p);
  atomic {
    if :: state[1] == FREE || (state[1] == PARKED && !NAMED(1)) -> n = 1
       :: state[2] == FREE || (state[2] == PARKED && !NAMED(2)) -> n = 2
       :: else -> n = 0
    fi; AT(l1.seg.scan)
    if :: n != 0 -> state[n] = OURS; uses[n]++; assert(hold[0] != n && hold[1] != n) :: else fi } }

proctype Writer(byte p, val) { byte v, o, w, n, rounds;
  do
  :: rounds < WRITES -> rounds++;
#ifndef LONG
#ifdef W0_BEFORE_LOCK
     o = mem[LNK]; w = 0; if :: o != 0 -> w = mem[W0(o)] :: else fi;
     LOCK(p, v); if :: o != mem[LNK] -> o = 0 :: else fi;
#else
     LOCK(p, v); o = mem[LNK]; w = 0; if :: o != 0 -> w = mem[W0(o)] :: else fi;
#endif
     AT(l1.inplace.judged)
     if :: o != 0 && (w & 1) == 0 ->
           ST(p, W0(o), 0); ST(p, VA(o), val); ST(p, VB(o), val); UNLOCK(p, v); goto next
        :: else -> UNLOCK(p, v)
     fi;
#endif
     TAKE_STRIPE(p); SEG_TAKE(p, n);
     if :: n != 0 -> ST(p, W0(n), 0); ST(p, VA(n), val); ST(p, VB(n), val); AT(l1.append.written)
           LOCK(p, v); o = mem[LNK]; ST(p, LNK, n); UNLOCK(p, v); RELEASE(p, o)
        :: else
     fi;
     DROP_STRIPE(p);
next: v = 0; o = 0; w = 0; n = 0
  :: else -> break
  od }

proctype Counter(byte p) { byte v, o, w;
  LOCK(p, v); o = mem[LNK]; w = 0; if :: o != 0 -> w = mem[W0(o)] :: else fi;
#ifdef COUNT_BLIND
  w = 0;
#endif
  if :: o != 0 && (w & 1) == 0 -> ST(p, VA(o), 7); ST(p, VB(o), 7) :: else fi;
  UNLOCK(p, v) }

proctype Cursor(byte p) { byte v, o, n, q, rounds, x, y; bool named;
  do
  :: rounds < CURSOR -> rounds++;
     TAKE_STRIPE(p); o = mem[LNK];
#ifdef SCAN_BEFORE_UNLINK
     DRAINED(p); named = (o != 0 -> NAMED(o) : false);
#endif
     if :: o != 0 -> LOCK(p, v); assert(mem[LNK] == o); ST(p, LNK, 0);
           AT(l1.evict.unlinked) UNLOCK(p, v);
#ifdef SCAN_BEFORE_UNLINK
           state[o] = (named -> PARKED : FREE)
#else
           RELEASE(p, o)
#endif
        :: o != 0 -> SEG_TAKE(p, n);    /* keep */
           if :: n != 0 -> LOCK(p, v); x = mem[VA(o)]; y = mem[VB(o)];
                 ST(p, W0(n), 0); ST(p, VA(n), x); ST(p, VB(n), y); ST(p, LNK, n);
                 UNLOCK(p, v); RELEASE(p, o)
              :: else
           fi
        :: else
     fi;
     SEG_TAKE(p, q);                    /* by another key, or K again */
     if :: q == 0 :: else -> ST(p, W0(q), 0); ST(p, VA(q), 9); ST(p, VB(q), 9);
           LOCK(p, v);
           if :: mem[LNK] == 0 -> ST(p, LNK, q); UNLOCK(p, v)
              :: true -> UNLOCK(p, v); atomic { DRAINED(p) -> state[q] = FREE }
           fi
     fi;
     DROP_STRIPE(p); v = 0; o = 0; n = 0; q = 0; x = 0; y = 0; named = false
  :: else -> break
  od }

init { atomic {
  mem[LNK] = 1; mem[VA(1)] = 1; mem[VB(1)] = 1; state[1] = OURS;
  run Pinner(0);
#ifdef TWO
  run Pinner(1);
#endif
  if :: WRITES > 0 -> run Writer(2, 2) :: else fi;
#ifdef COUNT
  run Counter(3);
#endif
  if :: CURSOR > 0 -> run Cursor(4) :: else fi
} }
