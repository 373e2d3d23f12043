/* SPDX-License-Identifier: MIT
 *
 * codec: values sealed by the caller's cipher on their way to disk, and opened on their way back.
 *
 * PICTURE    put   value -> seal -> | nonce 12 | sealed value, `overhead` bytes longer | -> record
 *            get   record verified, key and time right -> open -> the caller's buffer, or a miss
 * FORMAT     what is sealed with a value but not in it (aad): 0 u8[16] uuid  16 u32 vgen
 *            20 u32 klen  24 i64 expiry_wall_ms  32 the record's ext, key
 * INVARIANTS with a cipher nothing is served that it did not seal; without one nothing sealed is.
 *            All of a record that is served is under its seal: value, key, generation (a number
 *            no two views share), end of life, flags, version, kind. So whoever can write the files
 *            and make their checks right can make a key miss, or show an older value of the same
 *            key and generation that has not expired: nothing else.
 *            A nonce is used once: 96 random bits at each open, counted up by one a seal.
 * LOCKING    none, and none is held over the caller's functions; while `open` runs on a record of
 *            the stage its slot is pinned, so it must not wait.
 * LIMITS     two opens with 2^32 seals each share a nonce once in 2^63.
 *            Keys, names of views, lengths and times lie in clear.
 * NOT HERE   compression. A bit above the value's length is kept for it (form.c). */
#include "l2/l2_int.h"

#include "base/random.h"

#define L2_NONCE 12u
#define L2_AAD_HEAD 32u

CELLAR_PRIVATE bool l2_codec_open(l2 *d)
{
    if (d->crypt.seal == NULL) { return true; }
    d->seal_bytes = L2_NONCE + d->crypt.overhead;
    return base_random_bytes(d->nonce, L2_NONCE);
}

static void l2_nonce_next(l2 *d, unsigned char nonce[L2_NONCE])
{
    const uint64_t n = base_add_rlx(&d->seals, (uint64_t)1);
    memcpy(nonce, d->nonce, L2_NONCE);
    l2_w64(nonce, l2_r64(nonce) + n); /* those of one open differ for 2^64 seals */
}

static size_t l2_aad_bytes(const l2_rec *r)
{
    return L2_AAD_HEAD + (size_t)r->ext * 8 + r->klen;
}

static void l2_aad_write(const l2 *d, unsigned char *to, const l2_rec *r, const void *ext,
                         const void *key)
{
    memcpy(to, d->super.uuid, 16); /* never changes */
    l2_w32(to + 16, r->vgen);
    l2_w32(to + 20, r->klen);
    l2_w64(to + 24, (uint64_t)r->expiry_wall_ms);
    memcpy(to + L2_AAD_HEAD, ext, (size_t)r->ext * 8);
    memcpy(to + L2_AAD_HEAD + (size_t)r->ext * 8, key, r->klen);
}

CELLAR_PRIVATE bool l2_box_seal(l2 *d, const l2_key *k, const unsigned char *ext,
                                const void *value, l2_rec *r, l2_box *box)
{
    const size_t aad_bytes = l2_aad_bytes(r);
    const uint32_t plain = r->vlen;
    *box = (l2_box){ NULL, aad_bytes + plain + d->seal_bytes, NULL };
    box->block = base_alloc(d->cfg.account, BASE_MOD_L2, box->block_bytes, NULL);
    if (box->block == NULL) { return false; }
    unsigned char *out = box->block + aad_bytes;
    l2_aad_write(d, box->block, r, ext, k->bytes);
    l2_nonce_next(d, out);
    sync_assert_none();
    if (d->crypt.seal(d->crypt.ctx, out, box->block, aad_bytes, plain > 0 ? value : "", plain,
                      out + L2_NONCE) != 0) {
        l2_box_free(d, box);
        return false;
    }
    box->bytes = out;
    r->form = L2_FORM_SEALED;
    r->vlen = plain + d->seal_bytes;
    r->bytes += d->seal_bytes;
    return true;
}

CELLAR_PRIVATE void l2_box_free(l2 *d, l2_box *box)
{
    base_free(d->cfg.account, BASE_MOD_L2, box->block, box->block_bytes);
    *box = (l2_box){ NULL, 0, NULL };
}

CELLAR_PRIVATE cellar_err l2_box_open(l2 *d, const l2_rec *r, const unsigned char *at, void *buf,
                                      size_t buf_cap, size_t *value_len)
{
    if (d->crypt.open == NULL || r->form != L2_FORM_SEALED || r->vlen < d->seal_bytes) {
        L2_COUNT(d, miss_sealed);
        return CELLAR_MISS;
    }
    const unsigned char *ext = at + L2_RECORD_HEAD, *key = ext + (size_t)r->ext * 8;
    const unsigned char *sealed = key + r->klen;
    const size_t plain = r->vlen - d->seal_bytes, aad_bytes = l2_aad_bytes(r);
    const bool fits = plain > 0 && plain <= buf_cap; /* else it is opened for its length alone */
    l2_box box = { NULL, aad_bytes + (fits ? 0 : plain) + 1, NULL };
    box.block = base_alloc(d->cfg.account, BASE_MOD_L2, box.block_bytes, NULL);
    if (box.block == NULL) { return CELLAR_MISS; }
    unsigned char *out = fits ? buf : box.block + aad_bytes;
    l2_aad_write(d, box.block, r, ext, key);
    sync_assert_none();
    const bool opened = d->crypt.open(d->crypt.ctx, sealed, box.block, aad_bytes,
                                      sealed + L2_NONCE, r->vlen - L2_NONCE, out) == 0;
    l2_box_free(d, &box);
    if (!opened) {
        if (fits) { memset(buf, 0, plain); } /* nobody reads what is not genuine */
        L2_COUNT(d, miss_sealed);
        return CELLAR_MISS;
    }
    *value_len = plain;
    return plain > buf_cap ? CELLAR_E_BUFFER : CELLAR_OK;
}
