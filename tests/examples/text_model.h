/* SPDX-License-Identifier: MIT
 *
 * text_model: a stand-in for the model that makes a vector of a text, for embeddings.c.
 *
 * It counts pairs of letters, and knows no cache. model_nearest searches among a few vectors; a
 * million of them need a vector index. */
#ifndef TEXT_MODEL_H
#define TEXT_MODEL_H

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { DIM = 256 };

/* Make the vector of a text. It has length 1, as the vectors of most models have. */
static inline void model_embed(const void *text, size_t len, float vector[DIM])
{
    const unsigned char *const t = text;
    float length = 0;
    memset(vector, 0, DIM * sizeof *vector);
    for (size_t i = 1; i < len; i++) { vector[(t[i] * 37 + t[i - 1]) % DIM]++; }
    for (int k = 0; k < DIM; k++) { length = hypotf(length, vector[k]); }
    for (int k = 0; k < DIM && length > 0; k++) { vector[k] /= length; }
}

/* Return the number of the vector that is nearest to another one, or `count` if none is near it. In
 * vectors of length 1 the sum is the cosine of their angle. */
static inline size_t model_nearest(float (*vector)[DIM], size_t count, const float *other)
{
    size_t nearest = count;
    float most = 0;
    for (size_t i = 0; i < count; i++) {
        float nearness = 0;
        for (int k = 0; k < DIM; k++) { nearness += vector[i][k] * other[k]; }
        if (nearness > most) {
            most = nearness;
            nearest = i;
        }
    }
    return nearest;
}

#endif
