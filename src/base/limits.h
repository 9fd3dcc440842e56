/* Every ceiling of the house, in one place.  A ceiling is the point where input stops being a
 * request and becomes an attack or a mistake; reaching one is always an error with a sentence. */
#ifndef QG_BASE_LIMITS_H
#define QG_BASE_LIMITS_H

/* token lists */
#define QG_MAX_IDS (16u * 1024 * 1024) /* ids in one list */

/* tokenizer.json; the largest vocabularies in use have 262,144 tokens in 34 MB */
#define QG_MAX_TOKENIZER_BYTES (64u * 1024 * 1024)
#define QG_MAX_TOKENIZER_IDS   (2u * 1024 * 1024) /* ids and merges */
#define QG_MAX_TOKEN_BYTES     1024               /* of one token; Qwen3's longest is 128 blanks */

/* engine: rows of one pass; tokens of a generated answer (a verdict needs at most 26) */
#define QG_MAX_TREE_SLOTS    512 /* KV slots of a sequence beyond its context, for a token tree */
#define QG_MAX_STEP_ROWS     4096
#define QG_MAX_ANSWER_IDS    128
#define QG_MAX_TOP_LOGPROBS  20 /* of one token */
#define QG_MAX_STOPS         16 /* stop strings of one request */
#define QG_MAX_STOP_BYTES    1024
#define QG_MAX_SAMPLING_LIST 1024 /* stop tokens, biased tokens */
#define QG_MAX_LOGITS_BYTES  (4ull * 1024 * 1024 * 1024)

/* sessions of a Stream model: open at a time (the ceiling of qg_options.max_sessions; an idle one
 * takes about 1 KiB beside its KV); bytes of text without a place to cut (endless marks on one
 * character), which every further piece encodes anew (some 20 ms when they are that many) */
#define QG_MAX_SESSIONS    65536
#define QG_MAX_STREAM_TAIL (64u * 1024)

/* text: contents and rendered prompts.  64 MiB is 2,000 times the longest context in bytes, so the
 * context limit always speaks first for honest input; this stops memory from growing before it. */
#define QG_MAX_TEXT_BYTES (64u * 1024 * 1024)
#define QG_MAX_JSON_DEPTH 64 /* nesting; stops stack exhaustion */

/* lines of a log that its reader has not taken yet, some 1,500 requests; more are only counted */
#define QG_LINE_LOG_BYTES (256u * 1024)

/* threads of one pool; far above any machine this is built for, stops a typing mistake */
#define QG_MAX_THREADS 1024

/* HTTP.  The first three are bytes of one request, refused with 414, 431 and 413.  A prompt of the
 * longest context is about 150 kB of English; 4 MiB leaves room for escapes and long histories. */
#define QG_MAX_URI_BYTES        (8u * 1024)
#define QG_MAX_HEADER_BYTES     (32u * 1024)
#define QG_MAX_BODY_BYTES       (4u * 1024 * 1024)
#define QG_MAX_BODY_BYTES_TOTAL (256u * 1024 * 1024) /* bodies of all connections together: 503 */
#define QG_MAX_HTTP_HEADERS     100
#define QG_MAX_CONNECTIONS      16384 /* of 43 KiB when kept after a request */
#define QG_MAX_CONNECTIONS_ADDR 4096  /* of one address: a proxy in front may need many */
#define QG_MAX_CONN_REQUESTS    10000 /* then the connection is closed after the answer */
/* Absolute deadlines, milliseconds: a byte never resets one. */
#define QG_HTTP_HEADER_MS 10000
#define QG_HTTP_BODY_MS   60000
#define QG_HTTP_IDLE_MS   75000 /* between two requests */
#define QG_HTTP_WRITE_MS  60000 /* for taking an answer; starts anew with each piece of a stream */
#define QG_HTTP_TALK_MS   75000 /* a channel waits for its client; a WebSocket is pinged first */
#define QG_HTTP_DRAIN_MS  30000 /* running requests after SIGTERM */
#define QG_HTTP_LINGER_MS 2000  /* after a refusal in mid-body, so that the client can read it */
/* HTTP client. */
#define QG_CLIENT_CONNECT_MS 10000 /* resolving, connecting, TLS, where no other limit is given */

/* What a channel may hold for a client that does not take it.  Its owner writes more only when all
 * is taken, a few kB at a time; this stops pings that are answered and never read. */
#define QG_MAX_CHAN_OUT_BYTES (1024u * 1024)
/* Least bytes per second of a body, measured once the grace is over. */
#define QG_HTTP_BODY_RATE     512
#define QG_HTTP_BODY_GRACE_MS 5000

/* chat requests */
#define QG_MAX_MESSAGES   4096
#define QG_MAX_API_KEYS   4096
#define QG_MAX_KEY_NAME   64    /* bytes */
#define QG_MAX_INPUTS     2048  /* texts judged by one request */
#define QG_MAX_PAIRS      65536 /* prompts kept for the replies to come (LiteLLM) */
#define QG_MAX_PAIR_BYTES (64u * 1024 * 1024)
#define QG_PAIR_MS        600000 /* how long one is kept */
#define QG_MAX_ROLE_BYTES 64
/* A text beyond the context, where the policy says windows.  64 of 32,768 tokens are more than the
 * largest body holds; with a small context this bounds what one request costs. */
#define QG_MAX_WINDOWS    64
#define QG_WINDOW_OVERLAP 256 /* tokens two of them share, so that a cut halves no sentence */
#define QG_MAX_CHOICES    128 /* n, as at OpenAI */
#define QG_MAX_ID_BYTES   128 /* a request id given by the client */

/* Stream sessions over HTTP: one line or message (text of any length may come in pieces), sessions
 * made with POST /v1/moderations/sessions, and how long one may rest. */
#define QG_MAX_STREAM_LINE     (256u * 1024)
#define QG_MAX_HTTP_SESSIONS   4096 /* half of what an engine opens: streams always find room */
#define QG_MAX_KEY_SESSIONS    1024 /* of them by one key, where there are several */
#define QG_HTTP_SESSION_IDLE_S 600  /* the engine lets go of the memory after 300: 410, then 404 */

/* Replies on their way through the gateway.  The largest events are the last ones of the Responses
 * protocol, which repeat the whole reply; what a reply holds beyond the third number makes its
 * owner read no more for a while.  Context: bytes of a text that a fresh session reads again. */
#define QG_MAX_SSE_EVENT    (4u * 1024 * 1024)
#define QG_MAX_REPLY_BODY   (16u * 1024 * 1024) /* not streamed */
#define QG_REPLY_HELD_BYTES (256u * 1024)
#define QG_REPLY_KEPT_BYTES (4u * 1024 * 1024)  /* texts that its protocol says again at the end */
#define QG_MAX_REPLY_OUT    (32u * 1024 * 1024) /* waiting for the client */
#define QG_MAX_REPLY_LANES  512
#define QG_MAX_REPLY_MARKS  65536 /* texts in one event or body */
#define QG_REPLY_CONTEXT    4096
#define QG_REPLY_SENTENCE   2000 /* bytes; a longer sentence leaves by tokens */
#define QG_MAX_REPLY_HITS   16
#define QG_MAX_REPLY_DEPTH  32 /* nesting of a reply's JSON */

/* chat templates.  Those of the families we know are 4 to 30 KB, and render 1,000 messages in
 * fewer than 100,000 steps; a template comes with the model, so it is not trusted.  A step is a
 * node evaluated, an element or 256 bytes touched. */
#define QG_MAX_TMPL_BYTES   (512u * 1024) /* source */
#define QG_MAX_TMPL_NAMES   1024          /* different names in one template */
#define QG_MAX_TMPL_NESTING 100           /* brackets and blocks inside each other */
#define QG_MAX_TMPL_DEPTH   500           /* evaluation: macros and chains of operators, too */
#define QG_MAX_TMPL_STEPS   (4u * 1024 * 1024)
#define QG_MAX_TMPL_RANGE   100000               /* length of range(), as in the reference */
#define QG_MAX_TMPL_ARENA   (256u * 1024 * 1024) /* memory of one rendering beside its result */

/* model directories.  The largest published model of the family has 406 tensors in 4 shards, a
 * header of 50 kB, a config.json of 2 kB, a tokenizer_config.json of 10 kB. */
#define QG_ST_HEADER_MAX      (8u * 1024 * 1024) /* of one shard; parsed: up to 40 times */
#define QG_MAX_CONFIG_BYTES   (1024u * 1024)     /* config.json, generation_config.json */
#define QG_MAX_TOKCONF_BYTES  (4u * 1024 * 1024) /* tokenizer_config.json, chat_template.json */
#define QG_MAX_TEMPLATE_BYTES (1024u * 1024)     /* source of a chat template */
#define QG_MAX_SHARDS         1024
#define QG_MAX_TENSORS        65536 /* in one directory */
#define QG_MAX_TENSOR_NAME    256   /* bytes */

/* GGUF files: about 40 values (of which two are lists of 150,000 strings), alignment 32 */
#define QG_MAX_GGUF_VALUES 1024
#define QG_MAX_GGUF_ALIGN  (1024 * 1024)

/* cache of packed weights: a model, a number format and a kernel each make one file as large as the
 * weights */
#define QG_MAX_PACKFILES        4    /* kept in one directory; then the one used longest ago goes */
#define QG_MAX_PACKFILES_LISTED 1024 /* with more in it nothing is tidied */

/* config.json.  With all at their ceilings the products (2^40 for the embedding) fit int64. */
#define QG_MAX_VOCAB        (16 * 1024 * 1024)
#define QG_MAX_HIDDEN       65536
#define QG_MAX_INTERMEDIATE (1024 * 1024)
#define QG_MAX_LAYERS       1024
#define QG_MAX_HEADS        1024
#define QG_MAX_HEAD_DIM     1024
#define QG_MAX_Q_WIDTH      (256 * 1024) /* n_heads * head_dim */
#define QG_MAX_LABELS       32 /* answers of one Stream head; the real ones have up to 9 */
#define QG_MAX_POSITIONS    (16 * 1024 * 1024)

/* hubs that models are pulled from.  A repository of the family has a dozen files; a page of a list
 * has 1,000 at 200 bytes. */
#define QG_MAX_HUB_FILES       20000
#define QG_MAX_HUB_PATH        512 /* bytes of a file's name in a repository */
#define QG_MAX_HUB_LIST_BYTES  (16u * 1024 * 1024)
#define QG_MAX_HUB_PAGES       1000
#define QG_MAX_HUB_FILE_BYTES  (1ll << 42) /* 4 TiB; keeps sums and offsets in int64 */
#define QG_MAX_HUB_CONNECTIONS 16
#define QG_HUB_CONNECTIONS     4
/* One request of a large file: so long that asking costs nothing beside it, so short that a broken
 * proxy costs little. */
#define QG_HUB_PART_MIN   (4u * 1024 * 1024)
#define QG_HUB_PART_MAX   (64u * 1024 * 1024)
#define QG_HUB_TRIES      5   /* of a request that brings nothing */
#define QG_HUB_BREAKS     200 /* of one that brings something each time */
#define QG_HUB_RETRY_MS   500 /* before the second; twice as long before each further one */
#define QG_HUB_WAIT_S     120 /* asked for by Retry-After: more is an error at once */
#define QG_HUB_CONNECT_MS 10000
#define QG_HUB_HEADER_MS  30000
#define QG_HUB_STALL_MS   30000
#define QG_HUB_LIST_MS    120000

/* policy files.  100,000 literals of 20 bytes are 2 million nodes of 32 bytes. */
#define QG_MAX_POLICY_BYTES  (16u * 1024 * 1024)
#define QG_MAX_POLICY_NODES  (2u * 1024 * 1024) /* visited; aliases are visited again each time */
#define QG_MAX_POLICY_DEPTH  16
#define QG_MAX_POLICY_VIEWS  1024 /* overrides, of keys and of models each */
#define QG_MAX_RULES         100000
#define QG_MAX_LITERAL_BYTES 1024
#define QG_MAX_PATTERNS      1000
#define QG_MAX_PATTERN_BYTES 8192
#define QG_MAX_RULE_SPAN     1024   /* characters that a pattern may hold a stream back */
#define QG_MAX_PATTERN_STEPS 200000 /* PCRE2's match limit: about 10 ms of bad luck */
#define QG_MAX_PATTERN_DEPTH 10000
#define QG_MAX_PATTERN_KIB   4096 /* PCRE2's heap limit */

/* label and eval: rows of data sets.  Two windows of rows are in memory, each with at most so many
 * rows and (but for one row more) bytes; a row parsed takes about three times its bytes. */
#define QG_MAX_ROW_BYTES   (8u * 1024 * 1024) /* a line; longer ones go to the side file */
#define QG_BATCH_ROWS      256
#define QG_BATCH_BYTES     (16u * 1024 * 1024)
#define QG_MAX_FIELD_BYTES 256                /* name of a field */
#define QG_MAX_IDENTITY    7680               /* bytes of a journal's head */
#define QG_MAX_WHERE       32                 /* comparisons of one --where */
#define QG_MAX_EVAL_ROWS   (4u * 1024 * 1024) /* of one report: 300 bytes each */
#define QG_CUT_ROWS        64 /* of a compressed output, after which a member ends … */
#define QG_CUT_BYTES       (1024u * 1024) /* … or after so many bytes */

#endif
