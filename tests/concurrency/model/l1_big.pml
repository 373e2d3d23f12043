/* SPDX-License-Identifier: MIT
 *
 * l1_big: the block of an oversized value is freed once, and not during a copy from it.
 *
 * PICTURE    one key, one bucket {version, link = block 1..2}, one pin slot a reader.
 *                free -> linked -> [handed over] -> retired -> [in a sweeper's hand] -> free
 * THREADS    NR2      a second Reader (l1_read_any; FALL: its last round too; a pin does the same)
 *            WRITES=n Writer (l1_big_make: sweeps, allocates; l1_link: replaces)
 *            REMOVE   Remover (del or drop)          SWEEPER  l1_retired_pass from tick
 * SWITCHES   Each unlink decides whether the block is handed over (want_left) or retired in the
 *            window.
 * SHOWN      A copy, or a hook that is called with the bytes, finds the block linked or retired. No
 *            block is freed twice, linked while retired, or forgotten.
 * MUTANTS    RETIRED_FREED_EARLY RETIRED_BEFORE_HAND_OVER as in the code, PIN_PLAIN_STORE (only
 *            behind store buffers); and NO_LOOK_AFTER_PUBLISH, SWEEP_WITHOUT_SCAN,
 *            LIST_NOT_TAKEN (two sweepers have one block). */
#define NM 4
#define NP 5
#define SBN 3
#include "memory.h"
#ifndef WRITES
#define WRITES 1
#endif
#define VER 0
#define LNK 1
#define SLOT(i) (2 + (i))
#define EVEN ((mem[VER] & 1) == 0)

#define FREE 0
#define LINKED 1
#define LEAVING 2 /* unlinked, being handed over */
#define RETIRED 3
#define TAKEN 4   /* in a sweeper's hand */
byte block[3];
bool stripe;

inline LOCK(p, v) { AT(l1.lock) atomic { DRAINED(p) && EVEN -> v = mem[VER]; mem[VER] = v + 1 } }
inline UNLOCK(p, v) { ST(p, VER, v + 2) }

proctype Reader(byte i) { byte v, b, n;
again:
  n++; if :: n > 2 -> goto done :: else fi;
#ifdef FALL
  if :: true -> LOCK(i, v); b = mem[LNK];
        if :: b == 0 -> UNLOCK(i, v); goto done :: else fi;
        atomic { DRAINED(i) -> mem[SLOT(i)] = b }; UNLOCK(i, v); goto have
     :: true
  fi;
#endif
  atomic { EVEN -> v = mem[VER] }; b = mem[LNK];
  if :: mem[VER] != v -> goto again :: else fi;
  if :: b == 0 -> goto done :: else fi;
#ifdef PIN_PLAIN_STORE
  ST(i, SLOT(i), b);
#else
  atomic { DRAINED(i) -> mem[SLOT(i)] = b };
#endif
  AT(l1.pin.published)
#ifndef NO_LOOK_AFTER_PUBLISH
  if :: mem[VER] != v -> ST(i, SLOT(i), 0); goto again :: else fi;
#endif
have: skip;
  assert(block[b] != FREE); assert(block[b] != FREE);   /* first and last byte */
  ST(i, SLOT(i), 0);
done: skip }

/* l1_unlink in the window, then l1_hand_over outside. */
inline UNLINK(p, o, told) {
  if :: told = true; block[o] = LEAVING
     :: told = false; AT(l1.big.retired)
#ifdef RETIRED_FREED_EARLY
        block[o] = FREE
#else
        atomic { DRAINED(p) -> block[o] = RETIRED }
#endif
  fi;
#ifdef RETIRED_BEFORE_HAND_OVER
  if :: told -> block[o] = RETIRED :: else fi;
#endif
}
inline HAND_OVER(p, o, told) {
  if :: told -> assert(block[o] != FREE); assert(block[o] != FREE); AT(l1.evict.handed)
#ifndef RETIRED_BEFORE_HAND_OVER
        AT(l1.big.retired) atomic { DRAINED(p) -> block[o] = RETIRED }
#endif
     :: else
  fi }

inline SWEEP(p) { /* one block at a time leaves the retire list */
  q = 1;
  do
  :: q <= 2 ->
#ifdef LIST_NOT_TAKEN
     atomic { DRAINED(p) -> mine = (block[q] == RETIRED) };
#else
     atomic { DRAINED(p) -> mine = (block[q] == RETIRED);
              if :: mine -> block[q] = TAKEN :: else fi };
#endif
     if :: mine ->
#ifdef SWEEP_WITHOUT_SCAN
           block[q] = FREE
#else
           s0 = mem[SLOT(0)];
           if :: s0 != q && mem[SLOT(1)] != q ->
                 atomic { assert(block[q] == TAKEN || block[q] == RETIRED); block[q] = FREE }
              :: else -> atomic { DRAINED(p) -> block[q] = RETIRED }
           fi
#endif
        :: else
     fi; mine = false; q++
  :: q > 2 -> break
  od; q = 0; s0 = 0 }

proctype Writer(byte p) { byte v, o, n, q, s0, rounds; bool told, mine;
  do
  :: rounds < WRITES -> rounds++;
     SWEEP(p);
     atomic { if :: block[1] == FREE -> n = 1 :: block[2] == FREE -> n = 2 :: else -> n = 0 fi;
              if :: n != 0 -> block[n] = LINKED :: else fi };
     if :: n != 0 ->
           atomic { DRAINED(p) && !stripe -> stripe = true };
           LOCK(p, v); o = mem[LNK];
           if :: o != 0 -> UNLINK(p, o, told) :: else fi;
           ST(p, LNK, n); UNLOCK(p, v);
           atomic { DRAINED(p) -> stripe = false };
           if :: o != 0 -> HAND_OVER(p, o, told) :: else fi
        :: else
     fi; v = 0; o = 0; n = 0; told = false
  :: else -> break
  od }

proctype Remover(byte p) { byte v, o; bool told;
  LOCK(p, v); o = mem[LNK];
  if :: o != 0 -> ST(p, LNK, 0); AT(l1.evict.unlinked) UNLINK(p, o, told);
        UNLOCK(p, v); HAND_OVER(p, o, told)
     :: else -> UNLOCK(p, v)
  fi }

proctype Sweeper(byte p) { byte q, s0; bool mine;
  SWEEP(p) }

init { atomic { mem[LNK] = 1; block[1] = LINKED;
    run Reader(0);
#ifdef NR2
    run Reader(1);
#endif
    run Writer(2);
#ifdef REMOVE
    run Remover(3);
#endif
#ifdef SWEEPER
    run Sweeper(4)
#endif
  };
  _nr_pr == 1 + TSO ->
  assert(block[1] != LEAVING && block[1] != TAKEN && block[2] != LEAVING && block[2] != TAKEN);
  assert((block[1] == LINKED) == (mem[LNK] == 1) && (block[2] == LINKED) == (mem[LNK] == 2)) }
