/* SPDX-License-Identifier: MIT
 *
 * l1_idle: deadlines that move (by hits, by touch) under a cursor that judges time.
 *
 * PICTURE    one key, one bucket {version, link}, position 1 its record with a deadline
 *            (last_use, or due: one word), position 2 where a kept copy goes. The record is
 *            expired once now >= word.
 * THREADS    Clock; Hit (l1_read_any + l1_idle_used, word = now + 2) x HITS; Touch (l1_touch:
 *            its clock is read before the lock, so it stores the later of two)
 *            Cursor (l1_cursor_step: judge without the bucket, lock from that version or judge
 *            again; the segment is released once the cursor is behind it, and reused)
 * GHOSTS     owner[q] = whose bytes lie at q (1: K).
 * SHOWN      A renewal never writes into bytes of another record and never turns time back. A
 *            record dropped as expired was expired under its lock. A record behind the cursor is
 *            not linked.
 * MUTANTS    IDLE_BARE_STORE as in the code; and TOUCH_TURNS_BACK (stores without comparing),
 *            JUDGED_BEFORE (the deadline is read before the version),
 *            DROP_NOT_JUDGED (l1_drop trusts the judgment), CURSOR_PASSES (the cursor stays
 *            behind a record whose drop was taken back), HIT_NOT_SOUGHT (a hit renews the
 *            record that it read, without a search under the lock). */
#define NM 4
#define NP 1
#define SBN 1
#include "memory.h"
#define VER 0
#define LNK 1
#define WORD(q) (1 + (q))
#define EVEN ((mem[VER] & 1) == 0)
#ifndef HITS
#define HITS 2
#endif
byte now = 1, owner[3];

active proctype Clock() { do :: now < 5 -> now++ :: break od }

proctype Hit() { byte v, o, t, w, n;
again:
  n++; if :: n > 3 -> goto done :: else fi;
  atomic { EVEN -> v = mem[VER] }; o = mem[LNK];
  if :: o == 0 -> goto done :: else fi;
  w = mem[WORD(o)];
  AT(l1.probe.validated) if :: mem[VER] != v -> goto again :: else fi;
  t = now;
  if :: t >= w -> goto done :: else fi;       /* expired: a miss */
#ifndef IDLE_BARE_STORE
  AT(l1.lock) atomic { EVEN -> v = mem[VER]; mem[VER] = v + 1 };
#ifndef HIT_NOT_SOUGHT
  o = mem[LNK];
  if :: o == 0 || now >= mem[WORD(o)] -> mem[VER] = v + 2; goto done :: else fi;
#endif
  if :: t + 2 <= mem[WORD(o)] -> t = mem[WORD(o)] - 2 :: else fi;
#endif
  atomic { assert(owner[o] == 1); assert(t + 2 >= mem[WORD(o)]); mem[WORD(o)] = t + 2 };
#ifndef IDLE_BARE_STORE
  mem[VER] = v + 2;
#endif
done: skip }

proctype Touch() { byte v, o, t;
  t = now;
  AT(l1.lock) atomic { EVEN -> v = mem[VER]; mem[VER] = v + 1 }; o = mem[LNK];
  if :: o != 0 && now < mem[WORD(o)] -> assert(owner[o] == 1);
#ifndef TOUCH_TURNS_BACK
        if :: t + 2 <= mem[WORD(o)] -> t = mem[WORD(o)] - 2 :: else fi;
#endif
        atomic { assert(t + 2 >= mem[WORD(o)]); mem[WORD(o)] = t + 2 }
     :: else
  fi;
  mem[VER] = v + 2 }

proctype Cursor() { byte v, o, w; bool expired;
step:
#ifdef JUDGED_BEFORE
  w = mem[WORD(1)];
#endif
  atomic { EVEN -> v = mem[VER]; o = mem[LNK] };
  if :: o != 1 -> goto behind :: else fi;
#ifndef JUDGED_BEFORE
  w = mem[WORD(1)];
#endif
  expired = (now >= w);
  if :: !expired ->                            /* keep: copy with that deadline, lock from v */
        mem[WORD(2)] = w; owner[2] = 1;
        if :: AT(l1.lock) atomic { mem[VER] == v -> mem[VER] = v + 1 }; assert(w == mem[WORD(1)])
           :: atomic { mem[VER] != v && EVEN -> v = mem[VER]; mem[VER] = v + 1 };
              if :: mem[LNK] != 1 -> mem[VER] = v + 2; goto behind :: else fi;
              mem[WORD(2)] = mem[WORD(1)]
        fi;
        mem[LNK] = 2; mem[VER] = v + 2; goto behind
     :: else
  fi;
  if :: AT(l1.lock) atomic { mem[VER] == v -> mem[VER] = v + 1 }
     :: atomic { mem[VER] != v && EVEN -> v = mem[VER]; mem[VER] = v + 1 };
        if :: mem[LNK] != 1 -> mem[VER] = v + 2; goto behind
#ifndef DROP_NOT_JUDGED
           :: mem[LNK] == 1 && now < mem[WORD(1)] -> mem[VER] = v + 2;
#ifdef CURSOR_PASSES
              goto behind
#else
              goto step                        /* g->cursor -= r.size */
#endif
#endif
           :: else
        fi
  fi;
  assert(now >= mem[WORD(1)]);
  mem[LNK] = 0; AT(l1.evict.unlinked) mem[VER] = v + 2;
behind:
  atomic { assert(mem[LNK] != 1); owner[1] = 2; mem[WORD(1)] = 9 } }

init { atomic { mem[LNK] = 1; mem[WORD(1)] = 3; owner[1] = 1;
  run Hit();
#if HITS > 1
  run Hit();
#endif
#ifdef TOUCH
  run Touch();
#endif
  run Cursor() } }
