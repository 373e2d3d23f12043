/* SPDX-License-Identifier: MIT
 *
 * codec: compress and encrypt values on the way to disk; decrypt and decompress them on reads.
 *
 * PICTURE    put   value -> compress, if asked and if it saves 1/8 -> | compressed value |
 *                  -> encrypt -> | nonce 12 | ciphertext, `overhead` bytes longer | -> record
 *            get   record verified, key and TTL right -> decrypt -> decompress -> caller's buffer
 * FORMAT     Authenticated data (aad): 0 u8[16] uuid  16 u32 generation  20 u32 klen
 *            24 i64 expiry_wall_ms  32 ext of the record, then the key
 *            A compressed value is one LZ4 block. ext has its raw length and is authenticated, so a
 *            forged bit next to the value length has no effect.
 * INVARIANTS A length from a file is compared with `room_max` before memory is written. A longer
 *            value is a miss, and so is a value that does not decompress.
 *            With a cipher, only values that it encrypted are served. Without one, none of them is.
 *            A forger of files can cause a miss, or an older, not expired value of the same key and
 *            generation. README.md has the argument.
 *            A nonce is used once: 96 random bits per open, plus 1 per encryption.
 * LOCKING    None. No lock is held during a call of the cipher.
 * LIMITS     A record above `room_max` is refused before compression.
 *            Two opens with 2^32 encryptions each share a nonce with probability 2^-63.
 *            Keys, namespace names, lengths and times are not encrypted.
 * SEE ALSO   base/pack.c for LZ4; README.md for the reserved blocks. */
#include "l2/codec.h"

#include "base/pack.h"
#include "base/random.h"
#include "l2/record.h"

#define L2_NONCE 12u
#define L2_AAD_HEAD 32u
#define L2_PACK_LEAST 64u /* least bytes of a value that is compressed */
#define L2_PACK_SAVES 8u  /* least saving: one byte in 8 */
#define L2_PACK_SAYS 8u   /* most bytes that ext grows by */
#define L2_PACKER_ROOM ((size_t)64 << 10) /* for the compressed value */

static size_t l2_packer_bytes(void) { return base_pack_scratch() + L2_PACKER_ROOM; }

BASE_SIZE_BEGIN

static void l2_nonce_next(l2 *d, unsigned char nonce[L2_NONCE])
{
    const uint64_t n = base_add_rlx(&d->seals, (uint64_t)1);
    memcpy(nonce, d->nonce, L2_NONCE);
    l2_w64(nonce, l2_r64(nonce) + n); /* The nonces of one open differ for 2^64 encryptions. */
}

static size_t l2_aad_bytes(const l2_rec *r) { return L2_AAD_HEAD + (size_t)r->ext * 8 + r->klen; }

static void l2_aad_write(const l2 *d, unsigned char *to, const l2_rec *r, const void *ext,
                         const void *key)
{
    memcpy(to, d->super.uuid, 16); /* constant */
    l2_w32(to + 16, r->generation);
    l2_w32(to + 20, r->klen);
    l2_w64(to + 24, (uint64_t)r->expiry_wall_ms);
    memcpy(to + L2_AAD_HEAD, ext, (size_t)r->ext * 8);
    memcpy(to + L2_AAD_HEAD + (size_t)r->ext * 8, key, r->klen);
}

CELLAR_PRIVATE void l2_packer_take(l2 *d, l2_box *box, size_t bytes)
{
    *box = (l2_box){ NULL, 0, NULL };
    for (uint32_t i = 0; i < L2_PACKERS && bytes <= l2_packer_bytes(); i++) {
        /* release in l2_packer_give */
        box->block = base_xchg_ar(&d->packer[i], (unsigned char *)NULL);
        BASE_POINT("l2.packer");
        if (box->block != NULL) { return; }
    }
    /* base_alloc would evict to make room, and eviction compresses and encrypts here. */
    box->block_bytes = bytes;
    box->block = base_alloc_held(d->cfg.account, BASE_MOD_L2, bytes, NULL);
}

static void l2_packer_give(l2 *d, unsigned char *block)
{
    for (uint32_t i = 0;; i = (i + 1) % L2_PACKERS) { /* There are as many slots as blocks. */
        unsigned char *none = NULL;
        if (base_cas_ar(&d->packer[i], none, block)) { return; } /* acquire in l2_packer_take */
    }
}

/* Allocate blocks until there are `want`. Return false if memory is short. */
static bool l2_packers_have(l2 *d, uint32_t want)
{
    for (uint32_t n = base_load_acq(&d->packers); n < want;) {
        unsigned char *block = base_alloc(d->cfg.account, BASE_MOD_L2, l2_packer_bytes(), NULL);
        if (block == NULL) { return false; }
        if (base_cas_ar(&d->packers, n, n + 1)) {
            l2_packer_give(d, block);
        } else {
            base_free(d->cfg.account, BASE_MOD_L2, block, l2_packer_bytes());
        }
        n = base_load_acq(&d->packers);
    }
    return true;
}

CELLAR_PRIVATE bool l2_pack_ready(l2 *d)
{
    return !d->packs || l2_packers_have(d, d->crypt.seal != NULL ? L2_PACKERS : L2_PACKERS / 2);
}

CELLAR_PRIVATE void *l2_alloc(l2 *d, size_t bytes)
{
    return base_alloc(d->cfg.account, BASE_MOD_L2, bytes, NULL);
}

CELLAR_PRIVATE bool l2_codec_open(l2 *d)
{
    d->packs = base_pack_there();
    if (d->crypt.seal == NULL) { return true; }
    d->seal_bytes = L2_NONCE + d->crypt.overhead_bytes;
    return base_random_bytes(d->nonce, L2_NONCE) && l2_packers_have(d, L2_PACKERS / 2);
}

CELLAR_PRIVATE void l2_codec_close(l2 *d)
{
    for (uint32_t i = 0; i < L2_PACKERS; i++) {
        base_free(d->cfg.account, BASE_MOD_L2, base_load_acq(&d->packer[i]), l2_packer_bytes());
    }
}

CELLAR_PRIVATE bool l2_box_pack(l2 *d, const void *value, l2_rec *r, l2_box *box)
{
    const uint32_t raw = r->vlen;
    if (!d->packs || raw < L2_PACK_LEAST) { return false; }
    const size_t scratch = base_pack_scratch();
    /* A longer result saves too little. */
    const size_t cap = raw - raw / L2_PACK_SAVES - L2_PACK_SAYS;
    l2_packer_take(d, box, scratch + cap);
    size_t n = 0;
    if (box->block != NULL) {
        n = base_pack(value, raw, box->block, box->block + scratch, cap);
    }
    if (n == 0) {
        l2_box_free(d, box);
        box->bytes = value;
        return false;
    }
    box->bytes = box->block + scratch;
    r->form |= L2_FORM_PACKED;
    r->vlen = (uint32_t)n; /* less than raw */
    r->bytes -= raw - r->vlen;
    return true;
}

CELLAR_PRIVATE bool l2_box_seal(l2 *d, const l2_key *k, const unsigned char *ext, l2_rec *r,
                                l2_box *box)
{
    const size_t aad_bytes = l2_aad_bytes(r);
    const uint32_t plain = r->vlen;
    l2_box sealed;
    l2_packer_take(d, &sealed, aad_bytes + plain + d->seal_bytes);
    if (sealed.block == NULL) { return false; }
    unsigned char *out = sealed.block + aad_bytes;
    l2_aad_write(d, sealed.block, r, ext, k->bytes);
    l2_nonce_next(d, out);
    sync_assert_none();
    const void *in = plain > 0 ? (const void *)box->bytes : "";
    if (d->crypt.seal(out, sealed.block, aad_bytes, in, plain, out + L2_NONCE,
                      d->crypt.ctx) != 0) {
        l2_box_free(d, &sealed);
        return false;
    }
    sealed.bytes = out;
    l2_box_free(d, box); /* the compressed value */
    *box = sealed;
    r->form |= L2_FORM_SEALED;
    r->vlen = plain + d->seal_bytes;
    r->bytes += d->seal_bytes;
    return true;
}

BASE_SIZE_END

CELLAR_PRIVATE void l2_box_free(l2 *d, l2_box *box)
{
    if (box->block != NULL && box->block_bytes == 0) {
        l2_packer_give(d, box->block);
    } else {
        base_free(d->cfg.account, BASE_MOD_L2, box->block, box->block_bytes);
    }
    *box = (l2_box){ NULL, 0, NULL };
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_box_open(l2 *d, const l2_rec *r, const unsigned char *at, void *buf,
                                size_t buf_cap, l2_box *box, uint32_t *n)
{
    *box = (l2_box){ NULL, 0, NULL };
    if (d->crypt.open == NULL || (r->form & L2_FORM_SEALED) == 0 || r->vlen < d->seal_bytes) {
        L2_COUNT(d, miss_sealed);
        return false;
    }
    const unsigned char *ext = at + L2_RECORD_HEAD, *key = ext + (size_t)r->ext * 8;
    const unsigned char *sealed = key + r->klen;
    const uint32_t plain = r->vlen - d->seal_bytes;
    const size_t aad_bytes = l2_aad_bytes(r);
    /* Otherwise the value is decrypted for its length only, or to be decompressed. */
    const bool fits = plain > 0 && plain <= buf_cap && (r->form & L2_FORM_PACKED) == 0;
    box->block_bytes = aad_bytes + (fits ? 0 : plain) + 1;
    box->block = l2_alloc(d, box->block_bytes);
    if (box->block == NULL) { return false; }
    unsigned char *out = fits ? buf : box->block + aad_bytes;
    l2_aad_write(d, box->block, r, ext, key);
    sync_assert_none();
    if (d->crypt.open(sealed, box->block, aad_bytes, sealed + L2_NONCE, r->vlen - L2_NONCE, out,
                      d->crypt.ctx) != 0) {
        if (fits) { memset(buf, 0, plain); } /* Erase bytes that are not authentic. */
        l2_box_free(d, box);
        L2_COUNT(d, miss_sealed);
        return false;
    }
    box->bytes = out;
    *n = plain;
    return true;
}

BASE_SIZE_END

CELLAR_PRIVATE bool l2_box_packed_right(l2 *d, const l2_rec *r, const l2_meta *m)
{
    const bool packed = (r->form & L2_FORM_PACKED) != 0;
    if (!packed && m->raw_bytes == 0) { return true; }
    if (packed && d->packs && m->raw_bytes >= L2_PACK_LEAST && m->raw_bytes <= d->room_max) {
        return true;
    }
    L2_COUNT(d, miss_packed);
    return false;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_box_unpack(l2 *d, const l2_box *box, uint32_t n, void *buf,
                                  uint32_t raw_bytes)
{
    if (base_unpack(box->bytes, n, buf, raw_bytes)) { return true; }
    memset(buf, 0, raw_bytes); /* Erase a partial result. */
    L2_COUNT(d, miss_packed);
    return false;
}

BASE_SIZE_END
