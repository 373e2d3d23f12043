/* SPDX-License-Identifier: MIT
 *
 * bloom: a filter that is rebuilt while it serves: no key whose add has returned is ever denied.
 *
 * PICTURE    desc {number, which set answers, filling} one word     in[set, key]: the key's bits
 *            adder: lock, desc, bits, unlock -> window, entry -> desc moved? add again -> done
 *            keeper: empty the other set -> all locks, desc, unlock -> scan -> all locks, swap,
 *            unlock -> the old set's pages go back (they read zero)
 *            reader: desc -> bits of the set that answers -> desc moved? "maybe"
 * THREADS    Adder x 2, a key and a lock each; Keeper: ROUNDS rebuilds, its scan is all it feeds;
 *            Reader: asks twice for either key.
 * SHOWN      A reader that is told "never" asked for a key whose add had not returned. No add goes
 *            to a set that has been given up.
 * MUTANTS    as in the code: NO_RECHECK SWAP_UNLOCKED ADD_FIRST_ONLY NO_SECOND_ADD; in the model
 *            only: SCAN_FIRST (the scan begins before the second set is published), ONE_LOCK (the
 *            publisher takes one of the locks).
 * LIMITS     always believed; doubt, which only changes desc, is not here. Sequentially
 *            consistent: desc and window are seq_cst in the code. */
#define AT(step)
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define KEYS 2
#define IN(set, of) in[(set) * KEYS + (of)]

byte number;
bit which, filling;
bool in[4], named[2], lock[KEYS], done[KEYS];
byte window[KEYS];            /* 1: being written, 2: visible */

inline add(key, slot) {
    atomic { !lock[slot] -> lock[slot] = true };
    d_step { d = number; s = which; f = filling };
    AT(bloom.add)
    AT(bloom.bit)
    d_step { assert(named[s]); IN(s, key) = true };
#ifndef ADD_FIRST_ONLY
    if :: f -> d_step { assert(named[1 - s]); IN(1 - s, key) = true } :: else fi;
#endif
    lock[slot] = false
}

inline take_all() {
#ifndef SWAP_UNLOCKED
    atomic { !lock[0] -> lock[0] = true };
#ifndef ONE_LOCK
    atomic { !lock[1] -> lock[1] = true };
#endif
#endif
    skip
}
inline drop_all() {
#ifndef SWAP_UNLOCKED
#ifndef ONE_LOCK
    lock[1] = false;
#endif
    lock[0] = false;
#endif
    skip
}

proctype adder(byte k) {
    byte d, s; bit f;
    add(k, k);
    window[k] = 1;
    window[k] = 2;
again:
#ifndef NO_SECOND_ADD
    if :: number != d -> add(k, k); goto again :: else fi;
#endif
    done[k] = true
}

inline scan() {
    k = 0;
    do
    :: k < KEYS ->
        if
        :: atomic { window[k] == 2 -> skip }; add(k, 0)
        :: atomic { window[k] == 0 -> skip }
        fi;
        k++
    :: else -> break
    od
}

proctype keeper() {
    byte d, s, k, round; bit f, old;
    do
    :: round < ROUNDS -> round++;
        d_step { named[1 - which] = true; IN(1 - which, 0) = false; IN(1 - which, 1) = false };
#ifdef SCAN_FIRST
        scan();
#endif
        take_all();
        d_step { filling = 1; number++ };
        drop_all();
        AT(bloom.published)
#ifndef SCAN_FIRST
        scan();
#endif
        take_all();
        d_step { old = which; which = 1 - which; filling = 0; number++ };
        drop_all();
        AT(bloom.give)
        d_step { named[old] = false; IN(old, 0) = false };
        IN(old, 1) = false
    :: else -> break
    od
}

proctype reader() {
    byte d, s, k, asks; bool sure, got;
    do
    :: asks < 2 -> asks++;
        if :: k = 0 :: k = 1 fi;
        sure = done[k];
        d_step { d = number; s = which };
        AT(bloom.ask)
        got = IN(s, k);
        if
#ifndef NO_RECHECK
        :: number != d
#endif
        :: atomic { number == d -> assert(got || !sure) }
#ifdef NO_RECHECK
        :: atomic { number != d -> assert(got || !sure) }
#endif
        fi
    :: else -> break
    od
}

init {
    atomic {
        named[0] = true;
        run adder(0); run adder(1); run keeper(); run reader()
    }
}
