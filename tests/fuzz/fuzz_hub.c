/* Arbitrary bytes as what a hub says: the first byte chooses who reads it.  Refused with a
 * sentence, or a list whose every name may be written below a folder; a list that was taken
 * survives the cache.
 */
#include "hub/listing.h"

#include "base/limits.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n);

static void check_list(const qg_hub_list *list)
{
    assert(list->n <= QG_MAX_HUB_FILES);
    for (size_t i = 0; i < list->n; i++) {
        const qg_hub_file *f = &list->at[i];
        assert(qg_repo_check_file(qg_str(f->path), NULL) == QG_OK);
        assert(f->path[0] != '/' && !strstr(f->path, "..//") && strncmp(f->path, "../", 3));
        assert(f->size <= (uint64_t)QG_MAX_HUB_FILE_BYTES);
        assert(!f->id[0] || strlen(f->id) == (f->git ? QG_HUB_COMMIT : QG_HUB_ID));
        assert(qg_is_hex(f->id, strlen(f->id)) && qg_is_hex(f->oid, strlen(f->oid)));
    }
}

/* Only a list without repeated names is a list. */
static void check_cache(qg_hub_list *list)
{
    qg_hub_list back = {0};
    qg_buf json;
    qg_buf_init(&json, QG_MAX_HUB_LIST_BYTES);
    if (qg_hub_list_sort(list, NULL) == QG_OK) {
        assert(qg_hf_write_tree_cache(list, &json, NULL) == QG_OK);
        assert(qg_hf_read_tree_cache(qg_buf_slice(&json), &back, NULL) == QG_OK);
        assert(back.n == list->n);
    }
    qg_hub_list_free(&back);
    qg_buf_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    const qg_slice bytes = {(const char *)in + 1, n ? n - 1 : 0};
    char commit[QG_HUB_COMMIT + 1], words[64];
    qg_hub_list list = {0};
    qg_err err = {""};
    qg_status rc = QG_OK;
    qg_buf out;
    bool there;

    if (!n)
        return 0;
    qg_buf_init(&out, 256);
    switch (in[0] % 7) {
    case 0:
        rc = qg_hf_read_tree(bytes, &list, &err);
        break;
    case 1:
        rc = qg_hf_read_tree_cache(bytes, &list, &err);
        break;
    case 2:
        rc = qg_ms_read_files(bytes, &list, &err);
        break;
    case 3:
        rc = qg_hub_read_index(bytes, &list, &err);
        break;
    case 4:
        rc = qg_hf_read_revision(bytes, commit, &err);
        assert(rc != QG_OK || strlen(commit) == QG_HUB_COMMIT);
        break;
    case 5:
        rc = qg_ms_read_revisions(bytes, "master", &there, &out, &err);
        break;
    default:
        qg_hub_error_words(bytes, words, sizeof words);
        assert(strlen(words) < sizeof words && !strchr(words, '\n'));
        qg_hf_next_page(bytes);
    }
    assert((rc == QG_OK) == !err.msg[0]);
    assert(rc == QG_OK || !list.n);
    check_list(&list);
    if (rc == QG_OK && in[0] % 7 == 0)
        check_cache(&list);
    qg_hub_list_free(&list);
    qg_buf_free(&out);
    return 0;
}
