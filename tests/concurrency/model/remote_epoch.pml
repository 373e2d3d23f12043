/* SPDX-License-Identifier: MIT
 *
 * remote_epoch: ends of a tag, and clears in the same way, over processes.
 *
 * PICTURE    changer: source changes -> END: epoch + 1, tag key := epoch -> acknowledged
 *            KNOW: {epoch, tag} read, lost ones made -> reply -> pair {store epoch drawn now, epoch}
 *            loader:  store epoch noted -> source read -> {value, born = epoch of the newest pair
 *                     that is not above the noted store epoch} to the server
 *            reader:  KNOW -> entry: born < tag is a miss
 * THREADS    two changers with TWO, a process with loads and two KNOW, a loss of the epoch key, a
 *            server that forgets the tag without an announcement at any moments, FORGETS of them,
 *            one reader that starts at any moment and knows nothing.
 * SHOWN      A process that starts after an end was acknowledged gets no value from before it, also
 *            when the server forgot the tag, lost the epoch key, or both.
 * MUTANTS    in the model only: BORN_AT_STORE (the newest pair when the value is stored), BORN_TRUE
 *            (the epoch of the server at the store, as a time would be), PAIR_EARLY (the store epoch
 *            is drawn when the request is sent), ABSENT_IS_NONE (no tag key: nothing has ended),
 *            LESS_EQ (an end does not raise the epoch), FROM_CALLER (a tag that was forgotten is made again
 *            with the number that the caller knows), EPOCH_FROM_KNOWN (a lost epoch starts above
 *            what the process knows, without the time of the server).
 * LIMITS     The time of the server is above all epochs. What a process keeps: remote_numbers. */
#ifndef KNOWS
#define KNOWS 2
#endif
#ifndef FORGETS
#define FORGETS 1
#endif
byte source = 1;
byte epoch = 1, tag = 1, top = 1; /* of the server; 0: lost. top: the highest epoch ever */
byte value, born;             /* the entry of the server; value 0: none */
byte acknowledged;            /* version of the source at the last acknowledged end */
byte here, heard, mine;       /* of the process: store epoch; highest epoch read; number of the tag */
byte pair_here[KNOWS + 1], pair_epoch[KNOWS + 1], pairs; /* 0: none below the first pair */

inline time_of_server(k) {
#ifdef EPOCH_FROM_KNOWN
    skip
#else
    if :: k <= top -> k = top + 1 :: else fi
#endif
}

/* The script: `known` and `number` are what the caller knows of epoch and tag, k and t are what it
 * returns. */
inline know(known, number, k, t) {
    k = epoch;
    if :: known > k -> k = known :: else fi;
    if :: tag > k -> k = tag :: else fi;
    if :: number > k -> k = number :: else fi;
    if :: epoch == 0 -> k++; time_of_server(k) :: else fi;
    epoch = k;
    if :: k > top -> top = k :: else fi;
#ifdef ABSENT_IS_NONE
    t = tag
#else
#ifdef FROM_CALLER
    if :: tag == 0 && number != 0 -> tag = number :: else fi;
#endif
    if :: tag == 0 -> tag = k :: number > tag -> tag = number :: else fi;
    t = tag
#endif
}

proctype changer() {
    byte v;
    d_step { source++; v = source };
    d_step {
#ifdef LESS_EQ
        if :: epoch == 0 -> epoch = top :: else fi;
#else
        epoch++;
        if :: epoch <= top -> epoch = top + 1 :: else fi;
        top = epoch;
#endif
        tag = epoch
    };
    d_step { if :: v > acknowledged -> acknowledged = v :: else fi; v = 0 }
}

proctype knows() {
    byte n, k, t, h;
    do
    :: n < KNOWS ->
        n++;
#ifdef PAIR_EARLY
        d_step { here++; h = here };
#endif
        d_step { know(heard, mine, k, t) }; /* executed */
        d_step {              /* the reply */
            if :: t > mine -> mine = t :: else fi;
            t = 0;
#ifndef PAIR_EARLY
            here++;
            h = here;
#endif
            if
            :: k > heard ->
                heard = k;
                pairs++;
                pair_here[pairs] = h;
                pair_epoch[pairs] = k
            :: else
            fi;
            k = 0;
            h = 0
        }
    :: else -> break
    od
}

proctype loader() {
    byte b, v, n;
    b = here;
    v = source;
    d_step {
        n = pairs;
#ifdef BORN_AT_STORE
        b = here;
#endif
        do :: n > 0 && pair_here[n] > b -> n-- :: else -> break od;
        value = v;
        born = pair_epoch[n];
#ifdef BORN_TRUE
        born = epoch;
#endif
        b = 0; v = 0; n = 0
    }
}

proctype loses() { if :: epoch = 0 :: true fi }

proctype forgets() {
    byte n;
    do :: n < FORGETS -> n++; tag = 0 :: break od
}

proctype reader() {
    byte from, k, limit;
    from = acknowledged;
    d_step { know(0, 0, k, limit); k = 0 };
    d_step { assert(value == 0 || born < limit || value >= from) }
}

init {
    atomic {
        run changer();
#ifdef TWO
        run changer();
#endif
        run knows();
        run loader(); run loader();
        run loses(); run forgets(); run reader()
    }
}
