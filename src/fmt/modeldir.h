/* A model on disk (Hugging Face directory or GGUF file) or in memory: which files, the
 * configuration, the tensors.  A GGUF file is shown as the directory that it could have been made
 * from: its config.json, tokenizer.json and chat_template.jinja are written from its metadata when
 * asked for, its tensors have their names there.  Everything is checked before it is handed out:
 * lengths, overlaps, dtypes, shapes, duplicates. */
#ifndef QG_FMT_MODELDIR_H
#define QG_FMT_MODELDIR_H

#include "base/buf.h"
#include "fmt/config.h"
#include "fmt/safetensors.h"

typedef struct qg_modeldir qg_modeldir;

typedef struct qg_file {
    const char *name; /* "config.json" */
    const void *data;
    size_t size;
} qg_file;

enum { QG_MODELDIR_TENSORS = 1u }; /* else only the small files are looked at */

/* Opens a directory; with QG_MODELDIR_TENSORS also reads config.json (and generation_config.json,
 * when there is one) and maps every *.safetensors file that does not begin with a dot, indexing
 * each by its own header; model.safetensors.index.json is only compared.  Links are followed, as in
 * the hub's cache.  err names file and field or tensor.  QG_ERR_IO for what is absent or
 * unreadable, QG_ERR_FORMAT, QG_ERR_UNSUPPORTED, QG_ERR_NOMEM; *out is then NULL.  The files must
 * not be shortened while the directory is open. */
qg_status qg_modeldir_open(qg_modeldir **out, const char *path, unsigned flags, qg_err *err);
/* The same over files in memory; names and bytes are borrowed until close.  A single one named
 * *.gguf is a GGUF file. */
qg_status qg_modeldir_open_files(qg_modeldir **out, const qg_file *files, size_t n_files,
                                 unsigned flags, qg_err *err);
/* As qg_modeldir_open with QG_MODELDIR_TENSORS, for looking at broken models: goes on past problems
 * and hands each to each().  *out is set whenever path is a directory that can be listed, with what
 * could be read (config NULL when it could not).  Returns the first problem's status. */
qg_status qg_modeldir_survey(qg_modeldir **out, const char *path, qg_problem_fn *each, void *ud,
                             qg_err *err);
/* The same over files in memory. */
qg_status qg_modeldir_survey_files(qg_modeldir **out, const qg_file *files, size_t n_files,
                                   qg_problem_fn *each, void *ud, qg_err *err);
/* NULL is fine. */
void qg_modeldir_close(qg_modeldir *dir);

/* The calls below read what does not change and may be made from any thread, but for
 * qg_modeldir_file and qg_modeldir_chat_template: one thread at a time. */

/* Last path component (in a hub's cache the repository's name), or "qguard-demo". */
const char *qg_modeldir_name(const qg_modeldir *dir);
/* The path it was opened by; NULL: in memory. */
const char *qg_modeldir_path(const qg_modeldir *dir);
/* NULL when opened without QG_MODELDIR_TENSORS. */
const qg_config *qg_modeldir_config(const qg_modeldir *dir);
size_t qg_modeldir_n_tensors(const qg_modeldir *dir);
const qg_tensor *qg_modeldir_tensor_at(const qg_modeldir *dir, size_t i);      /* sorted by name */
const qg_tensor *qg_modeldir_tensor(const qg_modeldir *dir, const char *name); /* NULL: absent */
/* The tensor's bytes are not needed for now: lets the system take the pages back. */
void qg_modeldir_drop(const qg_modeldir *dir, const qg_tensor *t);
/* The same of its bytes [from, from + n); the pages at both ends, which others share, stay. */
void qg_modeldir_drop_part(const qg_modeldir *dir, const qg_tensor *t, size_t from, size_t n);

size_t qg_modeldir_n_shards(const qg_modeldir *dir);
const qg_shard *qg_modeldir_shard(const qg_modeldir *dir, size_t i); /* sorted by file name */
/* Where shard i lies, in new memory; NULL when out of memory.  Only for a model on disk. */
char *qg_modeldir_shard_path(const qg_modeldir *dir, size_t i);

/* Whether a file of this name is there (also when it cannot be read). */
bool qg_modeldir_has(const qg_modeldir *dir, const char *name);
/* Bytes of a small file ("tokenizer.json"), mapped, alive until close. QG_ERR_IO when absent. */
qg_status qg_modeldir_file(qg_modeldir *dir, const char *name, qg_slice *bytes, qg_err *err);
/* The chat template's source: chat_template.jinja, else chat_template in tokenizer_config.json
 * (a string, or the list form's "default"), else chat_template in chat_template.json.  source is
 * filled (caller inits and frees it).  QG_ERR_FORMAT naming the three when there is none. */
qg_status qg_modeldir_chat_template(qg_modeldir *dir, qg_buf *source, qg_err *err);

/* Sentences about things that are odd but do not prevent loading (a wrong index file, …). */
size_t qg_modeldir_n_warnings(const qg_modeldir *dir);
const char *qg_modeldir_warning(const qg_modeldir *dir, size_t i);

#endif
