/* Canonical combining classes, decompositions and compositions (private to nfc.c). */
#ifndef QG_TEXT_NFC_TABLES_H
#define QG_TEXT_NFC_TABLES_H

#include <stddef.h>
#include <stdint.h>

enum { QG_NFC_SHIFT = 6, QG_NFC_LIMIT = 0x2FA40 };

extern const uint8_t qg_nfc_ccc_first[];  /* [cp >> SHIFT] -> block */
extern const uint8_t qg_nfc_ccc_second[]; /* [block << SHIFT | low bits] -> combining class */

extern const uint8_t qg_nfc_decomp_first[];
extern const uint16_t qg_nfc_decomp_second[]; /* place in pool << 3 | length; 0: none */
extern const uint32_t qg_nfc_decomp_pool[];   /* full canonical decompositions, without Hangul */

typedef struct qg_nfc_pair {
    uint32_t first, second, joined;
} qg_nfc_pair;

extern const qg_nfc_pair qg_nfc_pairs[]; /* rising by first, then second; without Hangul */
extern const size_t qg_nfc_n_pairs;

#endif
