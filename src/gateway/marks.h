/* Where the texts of a reply's JSON stand: one walk over the bytes by a table of the members that
 * are known, without a tree.  What the table does not know is text (see wire.h). */
#ifndef QG_GATEWAY_MARKS_H
#define QG_GATEWAY_MARKS_H

#include "base/slice.h"
#include "svc/policy.h"

/* What a member is. */
typedef enum qg_act {
    QG_ACT_META,    /* an id or a word; text (whole) when it does not look like one */
    QG_ACT_TYPE,    /* the same; "reasoning…" and "thinking…" say so of the object's contents */
    QG_ACT_ECHO,    /* the client's own request, said back: what it has not said is text */
    QG_ACT_TEXT,    /* a string that goes on in its lane; or parts, walked by sub */
    QG_ACT_WHOLE,   /* a string that stands for itself, or repeats a lane */
    QG_ACT_RAW,     /* any value, as JSON text that stands for itself */
    QG_ACT_OPAQUE,  /* base64 and the like; text (whole) when it does not look like it */
    QG_ACT_IN,      /* an object, or an array of them, walked by sub */
    QG_ACT_CHOICES, /* the same; each element is a choice, by its index or its place */
    QG_ACT_CALLS,   /* the same; each element is a sub of its choice */
    QG_ACT_INDEX,   /* a number: the choice of everything in this object */
    QG_ACT_SUBINDEX, /* the same of the sub */
    QG_ACT_FINISH,   /* why it ended; null: it has not */
    QG_ACT_WORDS,    /* counters and settings: text (whole) only when a string in it is no word */
    QG_ACT_LOGPROBS, /* the text again, as tokens */
} qg_act;

typedef struct qg_node qg_node;
typedef struct qg_member {
    const char *name;
    uint8_t n_name, act, kind; /* qg_act, qg_field_kind */
    const char *lane;          /* texts with the same one share a lane; FINISH: what a cut puts
                                  there in a whole body (JSON) */
    const qg_node *sub;
} qg_member;

struct qg_node {
    const qg_member *members; /* [n] */
    uint8_t n;
    bool goes_on; /* unknown strings go on in a lane of their name; else each stands for itself */
    bool note;    /* annotations go into this object */
};

typedef enum qg_mark_what {
    QG_MARK_TEXT,     /* between the quotes of a string */
    QG_MARK_WHOLE,    /* the same */
    QG_MARK_RAW,      /* a value */
    QG_MARK_FINISH,   /* a value, not null */
    QG_MARK_LOGPROBS, /* a value, not null */
} qg_mark_what;

typedef struct qg_mark {
    uint8_t what, kind;    /* qg_mark_what, qg_field_kind */
    bool plain;            /* a string without escapes */
    bool echo;             /* no text when the client's request says it */
    int32_t choice, sub;   /* -1: none */
    uint32_t begin, end;   /* bytes of the JSON */
    uint32_t note;         /* behind the brace of the object for annotations; 0: none */
    const char *lane;      /* see qg_member; NULL: name */
    uint32_t name, n_name; /* of the member, in the JSON */
    /* the owner's */
    uint32_t in;       /* lane */
    uint64_t from, to; /* bytes of the lane */
    bool read;         /* the lane has it with its inner escapes read: it is not cut, but dropped */
} qg_mark;

typedef struct qg_marks {
    qg_mark *p; /* [n] in the order of the bytes */
    size_t n, cap;
    int32_t choice; /* index of the root object, -1 */
} qg_marks;

/* Replaces what is in marks (zero at first; free with qg_marks_free).  json: one object and nothing
 * else, at most 4 GiB.  QG_ERR_FORMAT: it is not, a name of a member that is none (blanks, escapes,
 * more than 64 bytes) or stands twice, an index that is none, strings that are not UTF-8;
 * QG_ERR_TOO_LONG: more than QG_MAX_REPLY_MARKS; QG_ERR_NOMEM. */
qg_status qg_marks_read(qg_marks *marks, const qg_node *root, qg_slice json, qg_err *err);
void qg_marks_free(qg_marks *marks);

/* No blanks, nothing that a sentence is made of: what ids and words of a protocol look like. */
bool qg_marks_is_word(qg_slice s);

/* The value of a string member of the root object, raw; "" when there is none. */
qg_slice qg_marks_root_string(qg_slice json, const char *name);

#endif
