/* SPDX-License-Identifier: MIT
 *
 * l1_hold: an object is freed once, behind its entry and its last hold.
 *
 * PICTURE    one key, one bucket {version, cell}, two cells {count}, one slot a holder: number of
 *            the acquire << 3 | COUNTED << 2 | cell. A cell that was freed gets another object.
 * THREADS    HOLDS=n  n acquires and releases of each of two holders (l1_hold_take, l1_hold_end);
 *                     with COUNTS also without a free slot; with RETAIN a second hold
 *            ENDS=n   n sets or deletes of Ender 1 (l1_cell_take, l1_cell_unlink); TWO: of two;
 *                     with OWN an entry takes the count of its set (l1_cell_link_own)
 *            CLOSE    l1_cells_close behind the last call, beside releases
 * GHOSTS     alive[c], births[c] of the object in a cell; hold[i] = cell that holder i was given.
 * SHOWN      A holder has the object that it looked at, alive until it releases it. Each object is
 *            freed once; at the end only the entry has a count. The table outlives its use.
 * MUTANTS    HOLD_NO_LOOK HOLD_COUNT_NO_LOOK HOLD_FROM_0 HOLD_NOT_CONVERTED HOLD_COUNT_KEPT
 *            HOLD_MARKED_FIRST HOLD_RELEASE_BLIND HOLD_PLAIN_STORE (only behind store buffers), as
 *            in the code; and HOLD_SCAN_FIRST (holds are counted before the unlink),
 *            HOLD_DROP_FIRST (the end drops its count, then counts holds). */
#define NM 6
#define NP 5
#define SBN 4
#include "memory.h"
#define VER 0
#define LNK 1
#define SLOT(i) (2 + (i))
#define CNT(c) (3 + (c))
#define EVEN ((mem[VER] & 1) == 0)
#define COUNTED 4
#define CELL(w) ((w) & 3)
#ifndef HOLDS
#define HOLDS 2
#endif
#ifndef ENDS
#define ENDS 2
#endif

bool alive[3], taken[3], closed, gone;
byte births[3], hold[2], calls, working, live = 1;

inline LOCK(p, v) { AT(l1.lock) atomic { DRAINED(p) && EVEN -> v = mem[VER]; mem[VER] = v + 1 } }
inline UNLOCK(p, v) { ST(p, VER, v + 2) }

/* l1_cell_free, l1_cells_drop */
inline FREE(c) {
  d_step { assert(alive[c] && hold[0] != c && hold[1] != c); alive[c] = false };
  d_step { taken[c] = false; live--; if :: live == 0 -> gone = true :: else fi } }

/* l1_cell_drop, l1_count_drop */
inline DROP(p, c) {
  atomic { DRAINED(p) -> assert(!gone && mem[CNT(c)] > 0); mem[CNT(c)] = mem[CNT(c)] - 1;
           last = (mem[CNT(c)] == 0) };
  if :: last -> FREE(c) :: else fi; last = false }

/* l1_hold_end: of the slot */
inline RELEASE(i, word, o) {
  atomic { DRAINED(i) -> assert(!gone);
           if :: mem[SLOT(i)] == word -> mem[SLOT(i)] = 0; conv = false :: else -> conv = true fi };
  if :: conv -> AT(l1.hold.converted)
        atomic { assert(mem[SLOT(i)] == (word | COUNTED)); mem[SLOT(i)] = 0 };
#ifndef HOLD_RELEASE_BLIND
        DROP(i, o)
#endif
     :: else
  fi; conv = false }

inline RECHECK(i) { DRAINED(i); same = (mem[VER] == v) }

proctype Holder(byte i) { byte v, o, g, n, word; bool same, last, conv;
  do
  :: n < HOLDS -> n++;
     atomic { if :: closed -> break :: else -> calls++ fi };
     atomic { EVEN -> v = mem[VER] };
     d_step { o = mem[LNK]; g = births[o] };
     if :: mem[VER] != v || o == 0 -> calls--; goto next :: else fi;
     if
#ifdef COUNTS
     :: true -> AT(l1.hold.no_slot)
#ifdef HOLD_FROM_0
        atomic { DRAINED(i) -> mem[CNT(o)] = mem[CNT(o)] + 1 };
#else
        atomic { DRAINED(i);
                 if :: mem[CNT(o)] == 0 -> calls--; goto next
                    :: else -> mem[CNT(o)] = mem[CNT(o)] + 1
                 fi };
#endif
        AT(l1.hold.counted)
        RECHECK(i);
#ifdef HOLD_COUNT_NO_LOOK
        same = true;
#endif
        if :: !same -> DROP(i, o); calls--; goto next :: else fi;
        d_step { assert(alive[o] && births[o] == g); hold[i] = o; calls-- };
        atomic { assert(alive[o]); hold[i] = 0 };
        DROP(i, o)
#endif
     :: true -> word = n << 3 | o;
#ifdef HOLD_PLAIN_STORE
        ST(i, SLOT(i), word);
#else
        atomic { DRAINED(i) -> mem[SLOT(i)] = word };
#endif
        AT(l1.hold.published)
#ifdef HOLD_PLAIN_STORE
        same = (mem[VER] == v);
#else
        RECHECK(i);
#endif
#ifdef HOLD_NO_LOOK
        same = true;
#endif
        if :: !same -> RELEASE(i, word, o); calls--; goto next :: else fi;
        d_step { assert(alive[o] && births[o] == g); hold[i] = o; calls-- };
#ifdef RETAIN
        atomic { assert(mem[CNT(o)] > 0); mem[CNT(o)] = mem[CNT(o)] + 1 }; /* l1_hold_copy */
        RELEASE(i, word, o);
        atomic { assert(alive[o]); hold[i] = 0 };
        DROP(i, o)
#else
        atomic { assert(alive[o]); hold[i] = 0 };
        RELEASE(i, word, o)
#endif
     fi;
next: skip; d_step { v = 0; o = 0; g = 0; word = 0; same = false }
  :: else -> break
  od; v = 0; n = 0; working-- }

inline HOLDS_COUNT(p, c) {
  i = 0;
  do
  :: i < 2 -> w = mem[SLOT(i)];
     if :: CELL(w) == c && (w & COUNTED) == 0 ->
#ifdef HOLD_MARKED_FIRST
           atomic { DRAINED(p);
                    if :: mem[SLOT(i)] == w -> mem[SLOT(i)] = w | COUNTED :: else -> w = 0 fi };
           if :: w != 0 -> atomic { mem[CNT(c)] = mem[CNT(c)] + 1 } :: else fi
#else
           atomic { DRAINED(p) -> mem[CNT(c)] = mem[CNT(c)] + 1 }; AT(l1.hold.added)
           atomic { if :: mem[SLOT(i)] == w -> mem[SLOT(i)] = w | COUNTED :: else -> w = 0 fi };
#ifndef HOLD_COUNT_KEPT
           if :: w == 0 -> atomic { mem[CNT(c)] = mem[CNT(c)] - 1 } :: else fi
#endif
#endif
        :: else
     fi; i++
  :: else -> break
  od; i = 0; w = 0 }

inline UNLINK(p, c) {
#ifdef HOLD_DROP_FIRST
  DROP(p, c); HOLDS_COUNT(p, c)
#else
#if !defined(HOLD_NOT_CONVERTED) && !defined(HOLD_SCAN_FIRST)
  HOLDS_COUNT(p, c);
#endif
  AT(l1.hold.ended) DROP(p, c)
#endif
}

proctype Ender(byte p) { byte v, o, n, w, i, rounds; bool last;
  do
  :: rounds < ENDS -> rounds++;
     atomic {           /* l1_cell_take; delete: none */
       if :: true -> n = 0
          :: !taken[1] -> n = 1
          :: taken[1] && !taken[2] -> n = 2
       fi;
       if :: n != 0 -> taken[n] = true; alive[n] = true; births[n]++; live++
          :: else
       fi };
     if :: n != 0 -> ST(p, CNT(n), 1) :: else fi;
#ifdef HOLD_SCAN_FIRST
     o = mem[LNK]; if :: o != 0 -> HOLDS_COUNT(p, o) :: else fi;
#endif
     LOCK(p, v); o = mem[LNK];
#ifndef OWN
     if :: n != 0 -> atomic { mem[CNT(n)] = mem[CNT(n)] + 1 } :: else fi; /* the link */
#endif
     ST(p, LNK, n); UNLOCK(p, v);
     if :: o != 0 -> DRAINED(p); UNLINK(p, o) :: else fi;
#ifndef OWN
     if :: n != 0 -> DROP(p, n) :: else fi;
#endif
     d_step { v = 0; o = 0; n = 0 }
  :: else -> break
  od; DRAINED(p); rounds = 0; calls--; working-- }

#ifdef CLOSE
proctype Closer() { byte w, i, o; bool last;
  atomic { calls == 0 -> closed = true };
  o = mem[LNK];
  if :: o != 0 -> UNLINK(4, o) :: else fi;
  d_step { mem[LNK] = 0; live--; if :: live == 0 -> gone = true :: else fi };
  o = 0; working-- }
#endif

init { atomic {
  mem[LNK] = 1; mem[CNT(1)] = 1; alive[1] = true; taken[1] = true; births[1] = 1; live = 2;
  working = 3; calls = 1;
  run Holder(0); run Holder(1); run Ender(2);
#ifdef TWO
  working++; calls++; run Ender(3);
#endif
#ifdef CLOSE
  working++; run Closer();
#endif
  };
  atomic { working == 0 ->
#ifdef CLOSE
    assert(gone && live == 0);
#endif
    assert(mem[SLOT(0)] == 0 && mem[SLOT(1)] == 0);
    assert(mem[CNT(1)] == (mem[LNK] == 1 -> 1 : 0) && alive[1] == (mem[LNK] == 1));
    assert(mem[CNT(2)] == (mem[LNK] == 2 -> 1 : 0) && alive[2] == (mem[LNK] == 2)) }
}
