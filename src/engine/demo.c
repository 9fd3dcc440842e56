/* The built-in demonstration models: the files of demo/model and demo/model-stream, carried in the
 * binary by the assembler (tools/embed writes the .incbin lines, meson.build lists the files). Both
 * have one tokenizer and one embedding. */
#include "engine/demo.h"

#include <string.h>

#define EMBEDDED(symbol) extern const char qg_embed_##symbol[], qg_embed_##symbol##_end[]
EMBEDDED(tokenizer);
EMBEDDED(tokenizer_config);
EMBEDDED(generation_config);
EMBEDDED(embedding);
EMBEDDED(gen_config);
EMBEDDED(gen_template);
EMBEDDED(gen_weights);
EMBEDDED(stream_config);
EMBEDDED(stream_template);
EMBEDDED(stream_weights);

#define FILE_OF(name, symbol)                                                                      \
    (qg_file)                                                                                      \
    {                                                                                              \
        name, qg_embed_##symbol, (size_t)(qg_embed_##symbol##_end - qg_embed_##symbol)             \
    }

static void add(qg_demo *demo, qg_file file)
{
    demo->files[demo->n++] = file;
}

bool qg_demo_find(qg_demo *demo, const char *model)
{
    bool stream = model && !strcmp(model, QG_DEMO_STREAM);

    *demo = (qg_demo){.name = stream ? QG_DEMO_STREAM : QG_DEMO_GEN};
    if (model && !stream && strcmp(model, QG_DEMO_GEN) != 0)
        return false;
    add(demo, FILE_OF("tokenizer.json", tokenizer));
    add(demo, FILE_OF("tokenizer_config.json", tokenizer_config));
    add(demo, FILE_OF("generation_config.json", generation_config));
    add(demo, FILE_OF("model-00001-of-00002.safetensors", embedding));
    if (stream) {
        add(demo, FILE_OF("config.json", stream_config));
        add(demo, FILE_OF("chat_template.jinja", stream_template));
        add(demo, FILE_OF("model-00002-of-00002.safetensors", stream_weights));
    } else {
        add(demo, FILE_OF("config.json", gen_config));
        add(demo, FILE_OF("chat_template.jinja", gen_template));
        add(demo, FILE_OF("model-00002-of-00002.safetensors", gen_weights));
    }
    return true;
}
