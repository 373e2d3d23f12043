/* SPDX-License-Identifier: MIT
 *
 * l1_get: one key K with every operation that moves or removes it.
 *
 * PICTURE    two buckets of one slot (ls odd: K lives in 1, else in 0), two segments of one
 *            record {KEY, VA, VB}. KEY 1 is K; a foreign record may imitate it (KEY 1, value 6).
 * THREADS    NR2     a second Reader (l1_read_any, and a key's steps in l1_get_many; FALL:
 *                    its last round too; NONE: the plain miss, l1_none, is asked first)
 *            SET     Setter (l1_put: in place or append; SET2: another)
 *            DEL     Deleter (l1_remove)           EVICT   Evictor (cursor: keep, drop, hand over)
 *            PUBLISH Publisher (a leader's result, with the veto)
 *            FOREIGN Foreigner (next holder of the lane, and another lane that takes free
 *                    segments; ROUNDS times)
 *            SPLIT   Splitter (l1_split; MERGE: then l1_contract_one and l1_split again): the only one
 *                    with the lock of the stripe
 * GHOSTS     cur = value of K by the stores in odd windows (0: none); mask[i] = values K had
 *            since caller i began; gone = dels that began after the load and have returned.
 * SHOWN      A hit is whole and was K's value during the call. A miss or a del's MISS saw K absent.
 *            A freed segment is not linked, its count is 0, and no thread reads its bytes. A value
 *            that a leader read before a del that returned is not published after it.
 * MUTANTS    NO_RECHECK MISS_NO_LS_RELOAD NONE_NO_LS_RELOAD LOCK_NO_LS_RELOAD SPLIT_BEFORE_LOCK
 *            NEW_NO_LS_RELOAD NEW_NOT_LOOKED_FOR LS_OUTSIDE_WINDOW KEPT_NO_VERSION DEL_COUNTS_LATE DEL_ABSENT_NO_HOOK
 *            VERSION_RESTARTS REUSE_BEFORE_UNLINK as in the code; and NONE_NO_VERSION,
 *            LINKED_NO_LS_RELOAD, BUSY_IGNORED, LS_NO_COUNT, MERGED_EVEN (against the design).
 * LIMITS     one key, no chains (l1_chain), a head is never left open (l1_emptied). */
#define NM 13
#define NP 6
#ifndef SBN
#define SBN 4
#endif
#include "memory.h"
#ifndef ROUNDS
#define ROUNDS 2
#endif
#define LS 0
#define VER(b) (1 + (b))
#define TAG(b) (3 + (b))
#define OFF(b) (5 + (b))
#define KEY(q) (7 + 3 * ((q) - 1))
#define VA(q) (8 + 3 * ((q) - 1))
#define VB(q) (9 + 3 * ((q) - 1))
#define NUMBER(ls) ((ls) & 1)
#define EVEN(b) ((mem[VER(b)] & 1) == 0 && mem[VER(b)] != 0)
#define LINKED(q) ((mem[TAG(0)] != 0 && mem[OFF(0)] == (q)) || \
                   (mem[TAG(1)] != 0 && mem[OFF(1)] == (q)))

#define FREE 0
#define OURS 1   /* in a queue of our lane */
#define OTHERS 2
bool lane;       /* lock; both ends are read-modify-writes */
byte state[3], busy[3], live[3], ver_base, stamp;
byte cur, mask[3]; bool loading, gone;

#ifdef BUSY_IGNORED
#define IDLE(q) (true)
#else
#define IDLE(q) (busy[q] == 0)
#endif
#ifdef NO_RECHECK
#define CHANGED(b, v) (false)
#else
#define CHANGED(b, v) (mem[VER(b)] != (v))
#endif

inline COMMIT(x) {
  d_step { cur = x; mask[0] = mask[0] | (1 << x); mask[1] = mask[1] | (1 << x);
    mask[2] = mask[2] | (1 << x) }
}
inline TAKE_LANE(p) { atomic { DRAINED(p) && !lane -> lane = true } }
inline DROP_LANE(p) { atomic { DRAINED(p) -> lane = false } }
inline LOCK(p, b, v) {
  AT(l1.lock) atomic { DRAINED(p) && EVEN(b) -> v = mem[VER(b)]; mem[VER(b)] = v + 1 } }
inline UNLOCK(p, b, v) { ST(p, VER(b), v + 2) }

/* Without the lock of the stripe: a waiter reads ls again, and once more under the lock. */
inline LOCK_KEY(p) {
  do
  :: ls = mem[LS]; b = NUMBER(ls);
     if
     :: AT(l1.lock) atomic { DRAINED(p) && EVEN(b) -> v = mem[VER(b)]; mem[VER(b)] = v + 1 }
#ifndef LOCK_NO_LS_RELOAD
        if :: mem[LS] != ls && NUMBER(mem[LS]) != b -> UNLOCK(p, b, v) :: else -> break fi
#else
        break
#endif
     :: mem[LS] != ls
     fi
  od; ls = 0 }

/* l1_live_sub and its BASE_ASSERT. */
inline LIVE_SUB(p, q) {
  atomic { DRAINED(p) -> assert(live[q] > 0); live[q]--; AT(l1.seg.emptied) } }

/* Each new holder of the lane lock frees emptied segments. A cursor that finds its record
 * unlinked under an even version has passed it: then the count of the segment
 * must be 0. */
inline FREE_SEGS(q) {
  q = 1;
  do :: q <= 2 ->
     atomic {
       if :: state[q] == OURS && IDLE(q) && live[q] == 0 -> assert(!LINKED(q)); state[q] = FREE
          :: state[q] == OURS && IDLE(q) && live[q] > 0 && EVEN(NUMBER(mem[LS])) ->
             if :: mem[TAG(NUMBER(mem[LS]))] == 0 || mem[OFF(NUMBER(mem[LS]))] != q ->
                   assert(live[q] == 0 && !LINKED(q)); state[q] = FREE
                :: else
             fi
          :: else
       fi };
     q++
  :: else -> break
  od; q = 0 }

proctype Reader(byte id) { byte ls, b, v, o, k, x, y;
  d_step { mask[id] = 1 << cur };
#ifdef NONE
  ls = mem[LS]; b = NUMBER(ls); v = mem[VER(b)];
  if :: (v & 1) != 0 || v == 0 -> goto again :: else fi;
  if :: mem[TAG(b)] != 0 -> goto again :: else fi; AT(l1.none.looked)
#ifndef NONE_NO_VERSION
  if :: CHANGED(b, v) -> goto again :: else fi;
#endif
#ifndef NONE_NO_LS_RELOAD
  if :: mem[LS] != ls -> goto again :: else fi;
#endif
  assert(mask[id] & 1); goto done;
#endif
again:
#ifdef FALL
  if :: true -> LOCK_KEY(0);
        if :: mem[TAG(b)] == 0 -> assert(mask[id] & 1)
           :: else -> o = mem[OFF(b)]; k = mem[KEY(o)]; x = mem[VA(o)]; y = mem[VB(o)];
              assert(k == 1 && x == y && cur == x)
        fi;
        UNLOCK(0, b, v); goto done
     :: true
  fi;
#endif
  ls = mem[LS]; b = NUMBER(ls);
  if :: atomic { EVEN(b) -> v = mem[VER(b)] } :: mem[LS] != ls -> goto again fi;
  if :: mem[TAG(b)] == 0 -> goto none :: else fi;
  o = mem[OFF(b)];
  if :: o == 0 -> goto none :: else fi; AT(l1.probe.matched)
  k = mem[KEY(o)];
  if :: k != 1 -> goto none :: else fi;
  x = mem[VA(o)]; y = mem[VB(o)]; AT(l1.probe.copied)
  if :: CHANGED(b, v) -> goto again :: else fi; AT(l1.probe.validated)
  assert(x == y); assert(mask[id] & (1 << x)); goto done;
none:
  if :: CHANGED(b, v) -> goto again :: else fi;
#ifndef MISS_NO_LS_RELOAD
  if :: mem[LS] != ls -> goto again :: else fi;
#endif
  assert(mask[id] & 1);
done: skip }

/* Lock the bucket where K was absent at version v and state ls, if both still hold: l1_link_new. */
inline LOCK_SEEN(p) {
  if
  :: free -> AT(l1.lock)
     if
     :: atomic { DRAINED(p) && mem[VER(b)] == v -> mem[VER(b)] = v + 1 }
#ifndef NEW_NO_LS_RELOAD
        if :: mem[LS] != ls -> UNLOCK(p, b, v); free = false :: else fi
#endif
     :: atomic { DRAINED(p) && mem[VER(b)] != v -> free = false }
     fi
  :: else
  fi }

/* Find K's old place, link the new one, unlink the old one: l1_link. */
inline LINK(p, n, val) {
  LOCK_SEEN(p);
  if :: free -> o = 0
     :: else -> LOCK_KEY(p);
#ifdef NEW_NOT_LOOKED_FOR
        o = 0
#else
        o = 0; if :: mem[TAG(b)] != 0 -> o = mem[OFF(b)] :: else fi
#endif
  fi;
  atomic { DRAINED(p) -> live[n]++ };
  if :: o != 0 -> ST(p, TAG(b), 0); AT(l1.evict.unlinked) LIVE_SUB(p, o) :: else fi;
  ST(p, OFF(b), n); ST(p, TAG(b), 1); COMMIT(val); UNLOCK(p, b, v) }

/* Room at a head: a segment that the log has free. */
inline RESERVE(n) {
  FREE_SEGS(n);
  AT(l1.seg.scan)
  atomic { if :: state[1] == FREE -> n = 1 :: state[2] == FREE -> n = 2 :: else -> n = 0 fi;
           if :: n != 0 -> assert(!LINKED(n)); state[n] = OURS; live[n] = 0 :: else fi } }

proctype Setter(byte p, val) { byte ls, b, v, o, n; bool free;
  if :: true -> LOCK_KEY(p); o = mem[OFF(b)];
        if :: mem[TAG(b)] != 0 -> assert(mem[KEY(o)] == 1);
              ST(p, VA(o), val); COMMIT(val); ST(p, VB(o), val); UNLOCK(p, b, v); goto done
           :: else -> UNLOCK(p, b, v)
        fi
     :: ls = mem[LS]; b = NUMBER(ls); v = mem[VER(b)];   /* l1_place_see */
        free = (v & 1) == 0 && v != 0 && mem[TAG(b)] == 0
  fi;
  TAKE_LANE(p); RESERVE(n);
  if :: n != 0 -> ST(p, KEY(n), 1); ST(p, VA(n), val); ST(p, VB(n), val); AT(l1.append.written)
        LINK(p, n, val)
     :: else
  fi;
  DROP_LANE(p);
done: skip }

proctype Deleter(byte p, id) { byte ls, b, v, o; bool after;
  d_step { mask[id] = 1 << cur; after = loading };
  LOCK_KEY(p);
  if :: mem[TAG(b)] != 0 -> o = mem[OFF(b)];
        atomic { DRAINED(p) -> stamp++ };       /* commit hook */
        ST(p, TAG(b), 0); AT(l1.evict.unlinked) COMMIT(0);
#ifdef DEL_COUNTS_LATE
        UNLOCK(p, b, v); AT(l1.del.late) LIVE_SUB(p, o)
#else
        LIVE_SUB(p, o); UNLOCK(p, b, v)
#endif
     :: else ->
#ifndef DEL_ABSENT_NO_HOOK
        atomic { DRAINED(p) -> stamp++ };
#endif
        assert(mask[id] & 1); UNLOCK(p, b, v)
  fi;
  atomic { DRAINED(p) -> gone = gone || after } }

/* A leader's result: what it read is older than every del that returned since. */
proctype Publisher(byte p) { byte s, ls, b, v, o, n;
  atomic { s = stamp; loading = true };
  TAKE_LANE(p); RESERVE(n);
  if :: n != 0 -> ST(p, KEY(n), 1); ST(p, VA(n), 4); ST(p, VB(n), 4);
        LOCK_KEY(p);
        if :: stamp == s -> assert(!gone);
              o = 0; if :: mem[TAG(b)] != 0 -> o = mem[OFF(b)] :: else fi;
              atomic { DRAINED(p) -> live[n]++ };
              if :: o != 0 -> ST(p, TAG(b), 0); LIVE_SUB(p, o) :: else fi;
              ST(p, OFF(b), n); ST(p, TAG(b), 1); COMMIT(4)
           :: else /* veto: the record is taken back */
        fi;
        UNLOCK(p, b, v)
     :: else
  fi;
  DROP_LANE(p) }

/* One step of the cursor on K's record: l1_linked, then l1_keep or l1_drop and l1_hand_over. */
proctype Evictor(byte p) { byte ls, b, v, o, n, k, x, y, h;
  TAKE_LANE(p);
again:
  ls = mem[LS]; b = NUMBER(ls);
  if :: atomic { EVEN(b) -> v = mem[VER(b)]; o = (mem[TAG(b)] != 0 -> mem[OFF(b)] : 0) }
     :: mem[LS] != ls -> goto again fi;
  if :: o == 0 ->     /* a miss: K's record in our segments is dead, if version and ls still hold */
        atomic {
          if :: mem[VER(b)] != v -> goto again
#ifndef LINKED_NO_LS_RELOAD
             :: mem[VER(b)] == v && mem[LS] != ls -> goto again
             :: mem[VER(b)] == v && mem[LS] == ls -> assert(!LINKED(1) && !LINKED(2))
#else
             :: mem[VER(b)] == v -> assert(!LINKED(1) && !LINKED(2))
#endif
          fi };
        DROP_LANE(p); goto done
     :: else fi;
  n = 3 - o;
  if :: atomic { state[n] == FREE -> state[n] = OURS; live[n] = 0 }; AT(l1.seg.scan)
        x = mem[VA(o)]; y = mem[VB(o)]; ST(p, KEY(n), 1); ST(p, VA(n), x); ST(p, VB(n), y);
#ifdef KEPT_NO_VERSION
        LOCK_KEY(p);
#else
        if :: AT(l1.lock)
              atomic { DRAINED(p) && mem[VER(b)] == v -> mem[VER(b)] = v + 1; goto swing }
           :: atomic { DRAINED(p) && mem[VER(b)] != v } LOCK_KEY(p)
        fi;
#endif
        if :: mem[TAG(b)] == 0 || mem[OFF(b)] != o -> UNLOCK(p, b, v); DROP_LANE(p); goto done
           :: else
        fi;
#ifndef KEPT_NO_VERSION
        x = mem[VA(o)]; y = mem[VB(o)]; ST(p, VA(n), x); ST(p, VB(n), y);
#endif
swing:  atomic { DRAINED(p) -> live[n]++ };
        ST(p, OFF(b), n); LIVE_SUB(p, o); UNLOCK(p, b, v); DROP_LANE(p)
     :: true ->
#ifdef REUSE_BEFORE_UNLINK
        state[o] = FREE;
#endif
        if :: AT(l1.lock)
              atomic { DRAINED(p) && mem[VER(b)] == v -> mem[VER(b)] = v + 1; goto unlink }
           :: atomic { DRAINED(p) && mem[VER(b)] != v } LOCK_KEY(p)
        fi;
        if :: mem[TAG(b)] == 0 || mem[OFF(b)] != o -> UNLOCK(p, b, v); DROP_LANE(p); goto done
           :: else
        fi;
unlink: assert(mem[TAG(b)] != 0 && mem[OFF(b)] == o);
        h = cur; ST(p, TAG(b), 0); AT(l1.evict.unlinked) COMMIT(0);
        atomic { DRAINED(p) -> busy[o]++ }; LIVE_SUB(p, o); UNLOCK(p, b, v); DROP_LANE(p);
        k = mem[KEY(o)]; x = mem[VA(o)]; y = mem[VB(o)];
        assert(k == 1 && x == h && y == h);     /* hooks.left reads the bytes in place */
        AT(l1.evict.handed) atomic { DRAINED(p) -> busy[o]-- }
  fi;
done: skip }

proctype Foreigner(byte p) { byte n, i;
  do :: i < ROUNDS -> i++;
     if :: TAKE_LANE(p); FREE_SEGS(n); DROP_LANE(p) :: true fi;
     atomic { if :: state[1] == FREE -> n = 1 :: state[2] == FREE -> n = 2 :: else -> n = 0 fi;
              if :: n != 0 -> state[n] = OTHERS :: else fi };
     if :: n != 0 -> AT(l1.seg.scan)
           if :: ST(p, KEY(n), 1) :: ST(p, KEY(n), 2) fi;
           ST(p, VA(n), 6); ST(p, VB(n), 6);
           if :: atomic { DRAINED(p) -> state[n] = FREE } :: true fi
        :: else
     fi; n = 0
  :: else -> break
  od }

inline GROW(p) {
#ifdef SPLIT_BEFORE_LOCK
  t = mem[TAG(0)]; o = mem[OFF(0)]; ST(p, TAG(0), 0);
#endif
  LOCK(p, 0, v);
#ifdef VERSION_RESTARTS
  w = 0;
#else
  w = ver_base;
#endif
  atomic { DRAINED(p) -> mem[VER(1)] = w + 1 };
#ifndef SPLIT_BEFORE_LOCK
  t = mem[TAG(0)]; o = mem[OFF(0)];
#endif
  ST(p, TAG(0), 0); AT(l1.split.cleared) ST(p, OFF(1), o); ST(p, TAG(1), t);
#ifdef LS_NO_COUNT
  ls = 1;
#else
  ls = (mem[LS] & 254) + 3;
#endif
#ifdef LS_OUTSIDE_WINDOW
  UNLOCK(p, 1, w); UNLOCK(p, 0, v); AT(l1.split.late) ST(p, LS, ls);
#else
  ST(p, LS, ls); AT(l1.split.published) UNLOCK(p, 1, w); UNLOCK(p, 0, v)
#endif
}

/* The merged bucket stays odd; its page may be given back. */
inline SHRINK(p) {
  LOCK(p, 0, v); LOCK(p, 1, w); t = mem[TAG(1)]; o = mem[OFF(1)];
  ST(p, TAG(1), 0); ST(p, OFF(0), o); ST(p, TAG(0), t);
#ifdef LS_NO_COUNT
  ls = 0;
#else
  ls = (mem[LS] & 254) + 2;
#endif
  ST(p, LS, ls); AT(l1.split.published)
#ifdef MERGED_EVEN
  UNLOCK(p, 1, w);
#endif
  UNLOCK(p, 0, v); ver_base = w + 2;
  if :: atomic { DRAINED(p) -> mem[VER(1)] = 0; mem[TAG(1)] = 0; mem[OFF(1)] = 0 } :: true fi }

proctype Splitter(byte p) { byte v, w, t, o, ls;
  GROW(p);
#ifdef MERGE
  SHRINK(p); GROW(p);
#endif
}

init { atomic {
  mem[VER(0)] = 2; mem[OFF(0)] = 1; mem[TAG(0)] = 1;
  mem[KEY(1)] = 1; mem[VA(1)] = 1; mem[VB(1)] = 1;
  state[1] = OURS; live[1] = 1; cur = 1;
  run Reader(0);
#ifdef NR2
  run Reader(1);
#endif
#ifdef SET
  run Setter(1, 2);
#endif
#ifdef SET2
  run Setter(2, 3);
#endif
#ifdef DEL
  run Deleter(3, 2);
#endif
#ifdef EVICT
  run Evictor(4);
#endif
#ifdef PUBLISH
  run Publisher(0);
#endif
#ifdef FOREIGN
  run Foreigner(5);
#endif
#ifdef SPLIT
  run Splitter(2);
#endif
} }
