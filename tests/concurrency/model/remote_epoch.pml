/* SPDX-License-Identifier: MIT
 *
 * remote_epoch: ends of a tag, and clears in the same way, over processes.
 *
 * PICTURE    changer: source changes -> epoch + 1, tag key := epoch -> acknowledged
 *            loader:  epoch heard -> source read -> {value, born = epoch heard} to the server
 *            reader:  tag key, made with a new epoch if it is absent -> entry: born < tag is a miss
 * THREADS    two changers, two loaders that hear late and in pieces, one loss of the tag key, one
 *            reader that starts at any moment and knows nothing.
 * SHOWN      A process that starts after an end was acknowledged gets no value from before it.
 * MUTANTS    in the model only: BORN_AT_STORE (what was heard when the value is stored), BORN_TRUE
 *            (the epoch of the server at the store, as a time would be), ABSENT_IS_NONE (no tag key:
 *            nothing has ended), LESS_EQ (an end does not raise the epoch).
 * LIMITS     Loss of the epoch itself: the server's clock starts it above (remote.md 5). */
byte source = 1, epoch = 1, tag = 1; /* tag 0: the key is absent */
byte value, born;             /* the entry of the server; value 0: none */
byte acknowledged;            /* version of the source at the last acknowledged end */
byte heard[2] = 1;

proctype changer() {
    byte v;
    d_step { source++; v = source };
#ifdef LESS_EQ
    tag = epoch;
#else
    d_step { epoch++; tag = epoch };
#endif
    d_step { if :: v > acknowledged -> acknowledged = v :: else fi }
}

proctype hears(byte i) { do :: heard[i] < epoch -> heard[i] = epoch :: break od }

proctype loader(byte i) {
    byte b, v;
    b = heard[i];
    v = source;
    d_step {
#ifdef BORN_AT_STORE
        b = heard[i];
#endif
#ifdef BORN_TRUE
        b = epoch;
#endif
        value = v;
        born = b
    }
}

proctype loses() { tag = 0 }

proctype reader() {
    byte from, limit;
    from = acknowledged;
    d_step {
        if
#ifdef ABSENT_IS_NONE
        :: tag == 0 -> limit = 0
#else
        :: tag == 0 -> epoch++; tag = epoch; limit = tag
#endif
        :: else -> limit = tag
        fi
    };
    d_step { assert(value == 0 || born < limit || value >= from) }
}

init {
    atomic {
        run changer();
#ifdef TWO
        run changer();
#endif
        run loader(0); run loader(1);
        run hears(0); run hears(1);
        run loses(); run reader()
    }
}
