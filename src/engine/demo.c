/* The built-in demonstration model: the files of demo/model, carried in the binary by the assembler
 * (tools/embed writes the .incbin lines, meson.build lists the files). */
#include "engine/engine_int.h"

#define EMBEDDED(symbol) extern const char qg_embed_##symbol[], qg_embed_##symbol##_end[]
EMBEDDED(config);
EMBEDDED(generation_config);
EMBEDDED(tokenizer);
EMBEDDED(tokenizer_config);
EMBEDDED(chat_template);
EMBEDDED(weights);

#define FILE_OF(name, symbol)                                                                      \
    (qg_file)                                                                                      \
    {                                                                                              \
        name, qg_embed_##symbol, (size_t)(qg_embed_##symbol##_end - qg_embed_##symbol)             \
    }

size_t qg_demo_files(qg_file files[QG_DEMO_FILES])
{
    size_t n = 0;
    files[n++] = FILE_OF("config.json", config);
    files[n++] = FILE_OF("generation_config.json", generation_config);
    files[n++] = FILE_OF("tokenizer.json", tokenizer);
    files[n++] = FILE_OF("tokenizer_config.json", tokenizer_config);
    files[n++] = FILE_OF("chat_template.jinja", chat_template);
    files[n++] = FILE_OF("model.safetensors", weights);
    return n;
}
